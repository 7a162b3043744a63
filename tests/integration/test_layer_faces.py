"""One suite over both faces of a layer: the layer in JAX, and `model.layer` of its artifact."""

import fcntl
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt

RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 6, 3)).astype(np.float32)
MASK = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], bool)
STATES = [RNG.standard_normal((2, 4)).astype(np.float32) for _ in range(2)]
CONSTANT = RNG.standard_normal((2, 5)).astype(np.float32)
BOOLS = ri.spec("batch=2", "time=?", dtype="bool")


class Mixer(ri.layers.Layer):
    """A cell with a constant."""

    state_size = 4

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], 4))
        self.mix = self.add_weight("mix", (5, 4))

    def call(self, inputs, states, constants):
        new = jnp.tanh(inputs @ self.kernel + constants[0] @ self.mix + 0.5 * states[0])
        return new, [new]


def lstm(**options):
    return ri.layers.LSTM(4, name="memory", **options)


CASES = {
    "plain": (lambda: lstm(), {}),
    "masked": (lambda: lstm(return_sequences=True, return_state=True), {"mask": BOOLS}),
    "stateful": (lambda: lstm(stateful=True, return_sequences=True), {"mask": BOOLS}),
    "constants": (
        lambda: ri.layers.RNN(Mixer(), return_sequences=True, name="memory"),
        {"constants": ri.spec("batch=2", 5)},
    ),
    "given": (
        lambda: lstm(return_state=True, stateful=True),
        {"initial_state": [ri.spec("batch=2", 4)] * 2},
    ),
    "backwards": (lambda: lstm(go_backwards=True), {}),
    "stack": (
        lambda: ri.layers.Sequential(
            [lstm(stateful=True, return_sequences=True), ri.layers.Dense(2)], name="stack"
        ),
        {},
    ),
}


FOLDER: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def shared(tmp_path_factory):
    """A folder in which the processes of one run of pytest find each other's artifacts."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    FOLDER.append(root / "layer_faces")
    FOLDER[0].mkdir(exist_ok=True)
    yield
    FOLDER.clear()


def built(case):
    """The artifact, compiled by the first process that needs it."""
    path = FOLDER[0] / f"{case}.riree"
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make, keywords = CASES[case]
            time = "time=6" if case in ("given", "backwards") else "time=?"
            chunks = None if time == "time=6" else (4,)
            specs = ri.spec("batch=2", time, 3)
            ri.compile(make(), specs, chunks=chunks, **keywords).save(path)
    return path.read_bytes()


def face(case, kind):
    compiled = rt.load(built(case), device="cpu").layer
    if kind == "compiled":
        return compiled
    layer = CASES[case][0]()
    layer.build((2, None, 3))
    layer.set_weights(compiled.get_weights())
    compiled.model.close()
    return layer


@pytest.fixture(params=["jax", "compiled"])
def kind(request):
    return request.param


def same(got, want):
    if isinstance(want, (list, tuple)):
        assert isinstance(got, list) and len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            same(one, other)
        return
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def both(case, *args, **kwargs):
    """The same call on both faces gives the same."""
    want = face(case, "jax")(*args, **kwargs)
    same(face(case, "compiled")(*args, **kwargs), want)
    return want


def test_calls_agree():
    both("plain", X)
    both("plain", X[:, :1])
    both("plain", X.astype(np.float64))
    both("plain", X, initial_state=STATES)
    both("plain", [X, *STATES])
    both("masked", X)
    both("masked", X, mask=MASK)
    both("masked", X, mask=MASK.astype(np.float32), initial_state=STATES)
    both("constants", X, constants=CONSTANT)
    both("constants", X, constants=[CONSTANT], initial_state=STATES[0])
    both("backwards", X)
    both("given", X)
    both("given", X, initial_state=STATES)


@pytest.mark.parametrize("case", ["stateful", "given", "stack"])
def test_stateful_calls_agree(case):
    jax_face, compiled = face(case, "jax"), face(case, "compiled")
    masked = case == "stateful"
    for part in (X, X[:, ::-1].copy(), X):
        options = {"mask": MASK} if masked else {}
        same(compiled(part, **options), jax_face(part, **options))
        if case != "stack":
            same(compiled.states, list(jax_face.states))
    jax_face.reset_states()
    compiled.reset_states()
    same(compiled(X), jax_face(X))
    if masked:
        same(compiled(X, initial_state=STATES), jax_face(X, initial_state=STATES))
        same(compiled(X), jax_face(X))


def test_reset_states(kind):
    layer = face("stateful", kind)
    assert layer.stateful and len(layer.states) == 2
    layer(X)
    layer.reset_states(STATES)
    same(list(layer.states), STATES)
    layer.reset_states()
    assert all((np.asarray(state) == 0).all() for state in layer.states)


def test_rows_of_a_stateful_layer_go_back_to_the_start():
    for case, masked in (("stateful", True), ("stack", False)):
        model = face(case, "compiled").model
        assert all(slot.shape[0] == "batch" for slot in model.manifest.states)
        with model.session() as stream, model.session() as fresh:
            options = {"mask": MASK} if masked else {}
            stream.run(X, **options)
            before = stream.states
            stream.reset(rows=[1])
            for name, after in stream.states.items():
                np.testing.assert_array_equal(after[0], before[name][0])
                assert not after[1].any()
            same(stream.run(X, **options)[1], fresh.run(X, **options)[1])


def test_flags(kind):
    layer = face("masked", kind)
    assert (layer.return_sequences, layer.return_state, layer.stateful) == (True, True, False)
    assert not layer.go_backwards and not layer.time_major and layer.built
    assert layer.name == "memory" and layer.states == [None, None]
    with pytest.raises(AttributeError):
        layer.units_of_nothing  # noqa: B018


def test_weights(kind):
    layer = face("plain", kind)
    assert layer.count_params() == 4 * 4 * (3 + 4 + 1)
    assert layer.weight_names == ["memory/kernel", "memory/recurrent_kernel", "memory/bias"]
    assert [tuple(w.shape) for w in layer.weights] == [(3, 16), (4, 16), (16,)]
    before = layer(X)
    weights = layer.get_weights()
    layer.set_weights([np.zeros_like(w) for w in weights])
    assert not np.asarray(layer(X)).any()
    layer.set_weights(weights)
    same(layer(X), before)
    layer.weights[0].assign(2 * weights[0])
    np.testing.assert_array_equal(layer.weights[0].numpy(), 2 * weights[0])
    np.testing.assert_array_equal(np.asarray(layer.get_weights()[0]), 2 * weights[0])


def test_config():
    want = json.loads(json.dumps(face("masked", "jax").get_config()))
    layer = face("masked", "compiled")
    got = layer.get_config()
    assert got == want | {"dtype": "float32"}
    got.clear()
    assert layer.get_config()
    assert ri.layers.LSTM.from_config(layer.get_config()).return_state


SHAPES = [
    ("plain", (2, 6, 3)),
    ("masked", (2, None, 3)),
    ("stateful", (2, 9, 3)),
    ("stack", (2, 9, 3)),
]


@pytest.mark.parametrize("case, shape", SHAPES)
def test_output_shapes(case, shape):
    want = face(case, "jax").compute_output_shape(shape)
    assert face(case, "compiled").compute_output_shape(shape) == want


REFUSED = [
    ("plain", lambda f: f(X, constants=CONSTANT), ValueError, "was given, but LSTMCell"),
    ("plain", lambda f: f(X, initial_state=STATES[:1]), ValueError, "has 1 states, but the cell"),
    ("plain", lambda f: f(X, initial_state=[STATES[0]] * 3), ValueError, "has 3 states, but"),
    (
        "plain",
        lambda f: f(X, initial_state=[STATES[0], STATES[0][:1]]),
        ValueError,
        r"`initial_state`: state 1 has shape \(1, 4\), which is not\s+compatible with",
    ),
    ("plain", lambda f: f([X, *STATES], initial_state=STATES), ValueError, "give them in one way"),
    ("plain", lambda f: f(X[0]), ValueError, "needs inputs of rank at least 3"),
    ("plain", lambda f: f(X[:, :, :2]), ValueError, r"was built for features \(3,\), got inputs"),
    ("plain", lambda f: f.reset_states(), AttributeError, "`memory` must be stateful"),
    ("plain", lambda f: f.set_weights([]), ValueError, "got 0 arrays, but layer `memory` has 3"),
    (
        "plain",
        lambda f: f.set_weights([np.zeros((3, 16))] * 3),
        ValueError,
        r"weight `memory/recurrent_kernel` has shape \(4, 16\), got an array of shape \(3, 16\)",
    ),
    ("stateful", lambda f: f(X[:1]), ValueError, "states for a batch of 2, got inputs"),
    ("stateful", lambda f: f.reset_states(STATES[:1]), ValueError, "expects 2 states, but `reset_"),
    (
        "stateful",
        lambda f: f.reset_states([STATES[0], STATES[0][:, :2]]),
        ValueError,
        r"state 1 is incompatible with layer `memory`: expected shape \(2, 4\), got \(2, 2\)",
    ),
]


@pytest.mark.parametrize("case, use, error, message", REFUSED)
def test_the_same_errors(kind, case, use, error, message):
    with pytest.raises(error, match=message) as caught:
        use(face(case, kind))
    assert isinstance(caught.value, rt.RecurrentIreeError)


MISSING = [
    ("plain", lambda f: f(X, mask=MASK), rt.ArgumentError,
     r'compiled without it. Compile it with mask: .*mask=ri.spec\("batch=...", "time=...", dtype'),
    ("backwards", lambda f: f(X, initial_state=STATES), rt.LayerRuntimeError,
     r'no states to start from or to keep.*initial_state=\[ri.spec'),
    ("constants", lambda f: f(X), rt.ArgumentError, "compiled with 1 constants, got 0"),
    ("plain", lambda f: f(X, training=True), rt.ArgumentError, "compiled for inference"),
    ("plain", lambda f: f(X, speed=3), rt.ArgumentError, "does not know the argument 'speed'"),
    ("plain", lambda f: f(X, None, None, None, None), rt.ArgumentError, "takes .* got 4"),
    ("given", lambda f: f.reset_states(), rt.LayerAttributeError, "before its first call"),
    ("plain", lambda f: f.compute_output_shape((2, 3)), rt.ArgumentError, "of rank 3, got"),
]  # fmt: skip


@pytest.mark.parametrize("case, use, error, message", MISSING)
def test_what_an_artifact_does_not_have(case, use, error, message):
    with pytest.raises(error, match=message):
        use(face(case, "compiled"))


def test_a_function_is_no_layer():
    artifact = ri.compile(lambda x: x + 1, ri.spec("batch=2", 3), name="plus")
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        with pytest.raises(rt.LayerAttributeError, match="'plus' was not compiled from a layer"):
            model.layer  # noqa: B018


def test_the_layer_and_sessions_share_weights():
    layer = face("plain", "compiled")
    model = layer.model
    stream = model.session(batch=2)
    stream.run(X[:, :3])
    weights = [np.zeros_like(w) for w in layer.get_weights()]
    layer.set_weights(weights)
    assert not np.allclose(stream.states["loop0/carry0"], 0)
    stream.reset()
    assert not stream.run(X).any() and not model(X).any()
