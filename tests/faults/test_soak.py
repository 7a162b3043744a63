"""A short soak; `make soak` is the long one."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


def soak(*options):
    command = [sys.executable, str(SOAK), "--device", "cpu:local-sync", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


def test_a_short_soak():
    done = soak("--steps", "5000", "--loads", "20", "--sessions", "50")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "no wrong answer; memory grew by less than 1024 KiB" in done.stdout
    assert "sessions on cpu:local-sync: 50/50, 0 wrong" in done.stderr


def test_a_soak_that_is_not_finished_fails():
    done = soak("--steps", "100000000", "--loads", "1", "--sessions", "1", "--minutes", "0.01")
    assert done.returncode == 1
    assert "the time of 0.01 minutes was over first" in done.stdout
