"""A Vulkan device that is lost in the middle of a stream: what is told, and what goes on.

`test_lost_devices.py` runs this file.
"""

import numpy as np
import pytest
from faults.devices import vulkan_artifact

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._drivers import _iree_devices
from runtime import tiny

pytestmark = pytest.mark.vulkan

X = np.random.default_rng(4).standard_normal((1, 8, 3)).astype(np.float32)
Y = tiny.steps(X)[0]
REASONS = (
    "c/runtime/src/x.c:1: INTERNAL; VK_ERROR_DEVICE_LOST",
    "c/runtime/src/x.c:1: DATA_LOSS; device lost",
    "c/runtime/src/x.c:1: ABORTED; semaphore failed",
)


class Lost:
    """A context whose device is gone from the given call on."""

    def __init__(self, context, calls, reason):
        self._context, self._left, self._reason = context, calls, reason

    def invoke(self, *args):
        self._left -= 1
        if self._left < 0:
            raise RuntimeError(self._reason)
        return self._context.invoke(*args)


def lose(model, calls=0, reason=REASONS[0]):
    executable = model.runner().stream
    executable.context = Lost(executable.context, calls, reason)


@pytest.fixture
def model():
    with rt.load(vulkan_artifact(), "vulkan") as model:
        yield model


def vulkan_device():
    return next(d for uri, d in _iree_devices._devices.items() if uri.startswith("vulkan"))


@pytest.mark.parametrize("reason", REASONS)
def test_a_snapshot_goes_on_on_a_new_device(model, reason):
    stream, other = model.session(batch=1), model.session(batch=1)
    stream.run(X[:, :3])
    snapshot, before = stream.snapshot(), vulkan_device()
    lose(model, 1, reason)
    np.testing.assert_allclose(stream.step(X[:, 3]), Y[:, 3], atol=1e-5)
    with pytest.raises(rt.DeviceLostError, match="on vulkan.* failed: .*(lost|stopped)"):
        stream.step(X[:, 4])
    for session in (stream, other):
        with pytest.raises(rt.StateError, match="was lost, and its state with it; call reset"):
            session.step(X[:, 4])
    stream.restore(snapshot)
    assert vulkan_device() is not before
    np.testing.assert_allclose(stream.run(X[:, 3:]), Y[:, 3:], atol=1e-5)
    other.reset()
    np.testing.assert_allclose(other.run(X), Y, atol=1e-5)
    np.testing.assert_allclose(model.restore(snapshot).step(X[:, 3]), Y[:, 3], atol=1e-5)


def test_a_whole_call(model):
    model(X)
    lose(model)
    with pytest.raises(rt.DeviceLostError, match="the device was lost"):
        model(X)
    np.testing.assert_allclose(model(X), Y, atol=1e-5)


def test_an_explicit_state(model):
    state = model.initial_state(batch=1)
    lose(model)
    with pytest.raises(rt.DeviceLostError):
        model.advance(state, X)
    with pytest.raises(rt.StateError, match="consumed|the device was lost after"):
        model.advance(state, X)
    fresh = model.initial_state(batch=1)
    np.testing.assert_allclose(model.advance(fresh, X)[0], Y, atol=1e-5)


def test_lost_again_and_again(model):
    stream = model.session(batch=1)
    for time in range(10):
        stream.run(X[:, :2])
        snapshot = stream.snapshot()
        lose(model, time % 3)
        with pytest.raises((rt.DeviceLostError, rt.StateError)):
            for t in range(8):
                stream.step(X[:, t])
        stream.restore(snapshot)
        np.testing.assert_allclose(stream.run(X[:, 2:]), Y[:, 2:], atol=1e-5)
        stream.reset()
