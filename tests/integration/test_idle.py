"""A closed Vulkan device costs nothing, though an open one keeps threads of Mesa busy."""

import time

import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt


@pytest.mark.vulkan
def test_a_closed_model_leaves_no_busy_thread() -> None:
    artifact = ri.compile(lambda x: x + 1.0, ri.spec(4), targets=["vulkan"])
    with rt.load(artifact.to_bytes(), device="vulkan") as model:
        np.testing.assert_array_equal(model(np.zeros(4, np.float32)), np.ones(4, np.float32))
    before = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - before < 0.5
