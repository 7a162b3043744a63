"""Threads, forks and ends: no wrong answer, no crash, a clear error for misuse."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.sweep import FILE

CHILD = Path(__file__).resolve().parent / "threads_child.py"
SYNC, TASK = "cpu:local-sync", "cpu:local-task"
NONE_WRONG = f"wrong {[0] * 8}"


def run(case, device, count, table, what):
    start = time.perf_counter()
    command = [sys.executable, str(CHILD), case, str(FILE), device, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    print(done.stderr)  # pytest shows it if the test fails: where a forked child hangs
    seconds = f"{time.perf_counter() - start:.1f}"
    table("threads", what=what, device=device, wrong=0, crashes=0, seconds=seconds)
    return done.stdout.strip()


def eight_by_eight(steps, device, table):
    what = f"8 threads x 8 sessions x {steps:,} steps"
    assert run("sessions", device, steps, table, what).endswith(NONE_WRONG)


@pytest.mark.parametrize("device", [SYNC, TASK])
def test_eight_threads_with_eight_sessions(device, table):
    eight_by_eight(100, device, table)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("device", [SYNC, TASK])
def test_eight_threads_with_eight_sessions_for_long(device, table):
    eight_by_eight(10_000, device, table)


def misuse(calls, times, device, table):
    what = f"8 threads x {calls:,} calls of one session"
    assert run("one", device, calls, table, what) == "lost 0, failed []"
    what = f"closed {times} times during calls of 4 threads"
    assert run("close", device, times, table, what) == "failed []"
    assert run("exit", device, 0, table, "the process ends during calls") == "ends"


@pytest.mark.parametrize("device", [SYNC, TASK])
def test_misuse(device, table):
    misuse(200, 5, device, table)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("device", [SYNC, TASK])
def test_misuse_for_long(device, table):
    misuse(10_000, 200, device, table)


def forked(times, table):
    done = run("fork", SYNC, times, table, f"{times} forks during calls of 4 threads")
    assert done == f"codes {{0: {times}}}, wrong 0"


def test_forks(table):
    forked(5, table)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_many_forks(table):
    forked(200, table)


RENEWED = """
import os, sys
from recurrent_iree_runtime._drivers import _iree_devices as devices

driver, instance = devices._driver("local-sync"), devices.vm_instance()
child = os.fork()
if child == 0:
    same = devices._driver("local-sync") is driver or devices.vm_instance() is instance
    os._exit(int(same))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_uses_no_mutex_of_its_parent():
    # One of 600 children hung in the allocator of the parent's driver, locked by another thread.
    assert subprocess.run([sys.executable, "-c", RENEWED], check=False, timeout=60).returncode == 0


@pytest.mark.vulkan
@pytest.mark.faults
@pytest.mark.timeout(900)
def test_threads_on_vulkan(tmp_path, table):
    from faults.devices import vulkan_artifact

    path = tmp_path / "vulkan.riree"
    path.write_bytes(vulkan_artifact())
    command = [sys.executable, str(CHILD), "sessions", str(path), "vulkan", "50"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    assert done.stdout.strip().endswith(NONE_WRONG)
    table("threads", what="8 threads x 8 sessions x 50 steps", device="vulkan", wrong=0, crashes=0)
