"""A closed Vulkan device costs nothing, though an open one keeps threads of Mesa busy."""

import subprocess
import sys
from pathlib import Path

import pytest

import recurrent_iree as ri

# In a process of its own: whatever else a test process has open would be counted, too.
IDLE = """
import sys, time
import numpy as np
import recurrent_iree_runtime as rt

with rt.load(sys.argv[1], device="vulkan") as model:
    np.testing.assert_array_equal(model(np.zeros(4, np.float32)), np.ones(4, np.float32))
before = time.process_time()
time.sleep(1.0)
print(time.process_time() - before)
"""


@pytest.mark.vulkan
def test_a_closed_model_leaves_no_busy_thread(tmp_path: Path) -> None:
    path = tmp_path / "model.riree"
    ri.compile(lambda x: x + 1.0, ri.spec(4), targets=["vulkan"]).save(path)
    done = subprocess.run([sys.executable, "-c", IDLE, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5
