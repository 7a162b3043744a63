"""Lost Vulkan devices, in a process of its own: IREE keeps their threads until the process ends."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.vulkan
@pytest.mark.parametrize("which", ["snapshot", pytest.param("", marks=pytest.mark.faults)])
def test_lost_devices(table, which):
    """One test of a snapshot for every run; all of them for ``make faults``."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(HERE.parents[1]), str(HERE / "lost_devices.py"), "-k", which]
    done = subprocess.run(
        command, cwd=HERE.parents[1], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    table("lost devices", what="Vulkan: streams go on from snapshots on a new device object",
          cases=int(found.group(1)), wrong=0, crashes=0)  # fmt: skip
