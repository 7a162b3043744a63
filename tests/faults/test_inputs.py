"""Arguments of every kind: the right answer, or an error that names the argument."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.sweep import FILE

CHILD = Path(__file__).resolve().parent / "inputs_child.py"


def sweep(path, device, table):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(CHILD), str(path), device],
        capture_output=True,
        text=True,
        check=False,
    )
    crashed = done.returncode < 0
    assert crashed or done.returncode == 0, done.stderr[-2000:]
    found = {"counts": {}, "bad": []} if crashed else json.loads(done.stdout)
    counts = found["counts"]
    table(
        "arguments",
        device=device,
        cases=sum(counts.values()),
        refused=counts.get("refused", 0),
        right=counts.get("right", 0),
        bad=counts.get("bad", 0),
        crashes=int(crashed),
    )
    assert not crashed, f"signal {-done.returncode}: {done.stderr[-2000:]}"
    assert not found["bad"], "\n".join(found["bad"][:20])
    assert counts["right"] > 500
    assert counts["right"] + counts["refused"] >= 2_000


def test_arguments_on_the_processor(table):
    sweep(FILE, "cpu", table)


@pytest.mark.faults
def test_arguments_on_both_queues(table):
    for device in ("cpu:local-sync", "cpu:local-task"):
        sweep(FILE, device, table)


@pytest.mark.vulkan
@pytest.mark.faults
@pytest.mark.timeout(600)
def test_arguments_on_vulkan(table, tmp_path):
    from faults.devices import vulkan_artifact

    path = tmp_path / "vulkan.riree"
    path.write_bytes(vulkan_artifact())
    sweep(path, "vulkan", table)
