"""The tiny program on every driver that this machine can have."""

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._drivers import _iree_devices, _xla
from recurrent_iree_runtime._drivers._base import Signature
from recurrent_iree_runtime._drivers._xla import XlaDriver
from recurrent_iree_runtime._runner import signature_of
from runtime import tiny

X = np.random.default_rng(1).standard_normal((2, 6, 3)).astype(np.float32)
Y, H, N = tiny.steps(X)


@pytest.fixture
def model(device_and_artifact):
    device, data = device_and_artifact
    with rt.load(data, device) as model:
        yield model


def test_it_runs(model):
    np.testing.assert_allclose(model(X), Y, atol=1e-5)
    stream = model.session(batch=2)
    steps = np.stack([stream.step(X[:, t]) for t in range(6)], axis=1)
    np.testing.assert_allclose(steps, Y, atol=1e-5)
    assert stream.states["n"] == 6 and stream.states["n"].dtype == np.int32
    kept, other = stream.states, stream.clone()
    np.testing.assert_allclose(kept["h"], H, atol=1e-5)
    stream.reset()
    np.testing.assert_allclose(stream.run(X), Y, atol=1e-5)
    again = tiny.steps(X, H, N)[0]
    np.testing.assert_allclose(other.run(X), again, atol=1e-5)
    stream.set_states(kept)
    np.testing.assert_allclose(stream.step(X[:, 0]), again[:, 0], atol=1e-5)


def test_dtypes_at_the_edge(model):
    a, m, k = np.float32([1, 2]), np.array([True, False]), np.int32([3, 4])
    for _ in range(2):
        result = model.run("pair", {"a": a, "m": m}, k=k)
        assert result["any"].dtype == np.bool_ and result["any"].tolist() == [False, True]
        assert result["sum"][0].tolist() == [4, 5] and result["a"].tolist() == [1, 2]


def test_golden_calls(model):
    report = model.verify()
    assert report.ok, report


def test_explicit_states(model):
    state = model.initial_state(batch=2)
    y1, state = model.advance(state, X[:, :1])
    y2, state = model.advance(state, X[:, 1:])
    np.testing.assert_allclose(np.concatenate([y1, y2], 1), Y, atol=1e-5)
    np.testing.assert_allclose(state.to_host()["h"], H, atol=1e-5)


@pytest.mark.vulkan
def test_a_vulkan_module_for_a_gpu_is_refused_on_software(compile_for):
    artifact = rt.read(compile_for("vulkan:llvmpipe"))
    module = artifact.manifest.modules[0]
    other = rt.Module("vulkan:ampere", "vulkan", module.member, {"vulkan_target": "ampere"},
                      module.abi, module.iree)  # fmt: skip
    data = tiny.artifact([other], {module.member: bytes(artifact.read_member(module.member))})
    with pytest.raises(rt.NoVariantError, match="compiled for 'ampere', and this device is 'llvm"):
        rt.load(data, "vulkan")


@pytest.mark.vulkan
def test_a_lost_vulkan_device_is_opened_anew(compile_for):
    with rt.load(compile_for("vulkan:llvmpipe"), "vulkan") as model:
        stream = model.session(batch=2)
        stream.step(X[:, 0])
        kept, before = stream.states, dict(_iree_devices._devices)
        runner = model.runner()
        error = RuntimeError("c/runtime/x.c:1: DATA_LOSS; VK_ERROR_DEVICE_LOST")
        ours = runner.stream.failure(error, "a call")  # pyright: ignore
        assert type(ours) is rt.DeviceLostError
        model.lost(runner)
        with pytest.raises(rt.StateError, match="the device of this session was lost"):
            stream.step(X[:, 1])
        np.testing.assert_allclose(model(X), Y, atol=1e-5)
        uri = next(uri for uri in before if uri.startswith("vulkan"))
        assert _iree_devices._devices[uri] is not before[uri]
        stream.set_states(kept)
        np.testing.assert_allclose(stream.run(X[:, 1:]), Y[:, 1:], atol=1e-5)


def test_xla_blobs_for_another_platform(export):
    with pytest.raises(rt.NoVariantError, match="is exported for tpu"):
        with rt.load(export("tpu"), "xla:cpu") as model:
            model(X)
    with pytest.raises(rt.NoVariantError, match="exported for tpu; this device is 'cpu'"):
        with rt.load(export("tpu"), "xla") as model:
            model(X)
    with pytest.raises(rt.DriverMissingError, match="JAX has no device of the platform 'rocm'"):
        rt.load(export("rocm"), "xla:rocm")


def test_xla_that_does_not_import(export, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax", None)
    with pytest.raises(rt.DriverMissingError, match=r"pip install recurrent-iree-runtime\[xla\]"):
        rt.load(export("cpu"), "xla")


def test_xla_without_jax_and_with_nothing_to_load(export, monkeypatch):
    driver, artifact = XlaDriver(), rt.read(export("cpu"))
    with pytest.raises(rt.ArtifactError, match="there is no jax.export module to load on XLA"):
        driver.load(None, artifact.read_member, {})
    monkeypatch.setattr(_xla, "has_jax", lambda: False)
    with pytest.raises(rt.DriverMissingError, match="needs JAX, which is not installed: pip inst"):
        XlaDriver()


def test_xla_functions_that_are_missing_and_models_that_are_closed(export):
    artifact = rt.read(export("cpu"))
    made = XlaDriver("cpu").load(artifact.manifest.modules[0], artifact.read_member,
                                 artifact.weights())  # fmt: skip
    with pytest.raises(rt.ArtifactError, match="has no jax.export blob for 'nothing'"):
        made.bind(Signature("nothing", (), (), (), ()))
    entry = artifact.manifest.entry("pair")
    assert entry is not None
    call = made.bind(signature_of(artifact.manifest, entry, entry.functions[0]))
    given = [np.float32([1, 2]), np.array([True, False]), np.int32([3, 4])]
    assert call(given, [])[0][1].tolist() == [4, 5]
    with pytest.raises(rt.DeviceError, match="XLA failed in 'pair'"):
        call([given[0], given[1], np.float32([3, 4])], [])
    made.close()
    with pytest.raises(rt.StateError, match="the model was closed; load the artifact again"):
        call(given, [])
