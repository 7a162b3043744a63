"""Weights apart from modules: shared, replaced while sessions run."""

import threading
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import tiny

TINY = Path(__file__).parents[1] / "data" / "tiny.riree"
RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 9, 3)).astype(np.float32)
NEW = {"kernel": (0.5 * tiny.KERNEL[::-1]).astype(np.float32)}


def steps_with(kernel, x, h=None):
    h = np.zeros((x.shape[0], 3), np.float32) if h is None else h
    out = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + h)
        out.append(h)
    return np.stack(out, 1)


@pytest.fixture(params=["cpu:local-sync", "cpu:local-task"])
def model(request):
    with rt.load(TINY, device=request.param) as model:
        yield model


def test_replaced_for_calls_and_sessions(model, tmp_path):
    stream, state = model.session(batch=2), model.initial_state(batch=2)
    batch_calls = model(X)
    first = stream.run(X[:, :4])
    _, state = model.advance(state, X[:, :4])
    model.set_weights(NEW)
    np.testing.assert_allclose(model(X), steps_with(NEW["kernel"], X), rtol=1e-5, atol=1e-6)
    want = steps_with(NEW["kernel"], X[:, 4:], first[:, -1])
    np.testing.assert_allclose(stream.step(X[:, 4]), want[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stream.run(X[:, 5:]), want[:, 1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.advance(state, X[:, 4:])[0], want, rtol=1e-5, atol=1e-6)
    (tmp_path / "old.safetensors").write_bytes(rt.write_safetensors({"kernel": tiny.KERNEL}))
    model.set_weights(tmp_path / "old.safetensors")
    np.testing.assert_allclose(model(X), batch_calls, rtol=1e-6)
    np.testing.assert_array_equal(model.get_weights()["kernel"], tiny.KERNEL)


BAD = [
    ({}, "weights= has no array 'kernel'"),
    ({**NEW, "bias": np.zeros(3)}, "weights= has the array 'bias', which the program does not use"),
    ({"kernel": np.zeros((3, 2), np.float32)}, r"'kernel' is float32\[3, 2\]; the program needs"),
    ({"kernel": np.zeros((3, 3))}, r"'kernel' is float64\[3, 3\]"),
    ("no-such.safetensors", "cannot be read"),
]


@pytest.mark.parametrize("weights, message", BAD)
def test_wrong_weights_change_nothing(model, weights, message):
    before = model(X)
    with pytest.raises(rt.ArtifactError, match=message):
        model.set_weights(weights)
    with pytest.raises(rt.ArtifactError, match=message):
        rt.load(TINY, device="cpu", weights=weights)
    np.testing.assert_array_equal(model(X), before)


def test_copies_go_in_and_out(model):
    given = {"kernel": NEW["kernel"].copy()}
    model.set_weights(given)
    given["kernel"][:] = 9
    model.get_weights()["kernel"][:] = 9
    np.testing.assert_allclose(model(X), steps_with(NEW["kernel"], X), rtol=1e-5, atol=1e-6)


def test_models_of_one_artifact_share_the_weights():
    artifact = rt.read(TINY)
    models = [rt.load(artifact, device=name) for name in ("cpu", "cpu:local-task")]
    arrays = [model.current_weights["kernel"] for model in models]
    assert all(np.shares_memory(array, arrays[0]) for array in arrays)
    models[1].set_weights(NEW)
    np.testing.assert_allclose(models[0](X), tiny.steps(X)[0], rtol=1e-5, atol=1e-6)
    for model in models:
        model.close()


def test_a_replaced_weight_survives_a_lost_device(model):
    model.set_weights(NEW)
    model.lost(model.runner())
    np.testing.assert_allclose(model(X), steps_with(NEW["kernel"], X), rtol=1e-5, atol=1e-6)


def test_replaced_while_threads_step():
    model = rt.load(TINY, device="cpu")
    old = steps_with(tiny.KERNEL, X[:1, :1])
    new = steps_with(NEW["kernel"], X[:1, :1])
    wrong, stop = [], threading.Event()

    def work():
        stream = model.session(batch=1)
        while not stop.is_set():
            stream.reset()
            for got in (stream.step(X[:1, 0]), model(X[:1, :1])[:, 0]):
                if not any(np.allclose(got, y[:, 0], 1e-5, 1e-6) for y in (old, new)):
                    wrong.append(got)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(20):
        model.set_weights(NEW if i % 2 == 0 else {"kernel": tiny.KERNEL})
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not wrong
    model.close()


def test_a_closed_model(model):
    model.close()
    with pytest.raises(rt.StateError, match="closed"):
        model.set_weights(NEW)


def test_closing_while_weights_are_replaced():
    driver = tiny.fake_driver()
    model = rt.load(tiny.artifact(), device=driver)
    load = driver.load

    def closing(*args):
        model.close()
        return load(*args)

    driver.load = closing
    with pytest.raises(rt.StateError, match="closed"):
        model.set_weights({"kernel": tiny.KERNEL})
