"""`entry="gradients"`: compiled gradients are those of `jax.vjp`, and their loops are kernels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

B, T, D, H = 2, 7, 5, 6
X = ri.spec("batch=2", "time=7", D)
MASK = ri.spec("batch=2", "time=7", dtype="bool")
RNG = np.random.default_rng(3)
SEED = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order() -> None:
    RNG.bit_generator.state = SEED


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.5).astype(np.float32)


def random_inputs(specs: Any) -> Any:
    def one(spec: Any) -> np.ndarray:
        if not isinstance(spec, ri.Spec):
            return spec
        shape = spec.shape({"batch": B, "time": T})
        return RNG.random(shape) < 0.7 if spec.dtype == "bool" else normal(*shape)

    return jax.tree.map(one, specs)


def run(program: Any, specs: tuple[Any, ...], keywords: dict[str, Any], **options: Any) -> Any:
    """The artifact, a model of it, and random arguments."""
    artifact = ri.compile(
        program, *specs, entry="gradients", targets=["cpu"], **keywords, **options
    )
    args, named = random_inputs((list(specs), keywords))
    return artifact, rt.load(artifact.to_bytes(), device="cpu"), args, named


def cotangents_of(outputs: Any) -> Any:
    return jax.tree.map(
        lambda o: normal(*o.shape) if np.issubdtype(o.dtype, np.floating) else None, outputs
    )


def close(got: Any, want: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        other = np.asarray(other)
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def forms(artifact: Any) -> list[str]:
    return [r["form"] for r in artifact.report()["targets"][0]["recurrences"]]


def layer_of(name: str, **options: Any) -> Any:
    return getattr(ri.layers, name)(H, return_sequences=True, **options)


LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LSTM": (lambda: layer_of("LSTM"), {}),
    "LSTM with states": (lambda: layer_of("LSTM", return_state=True), {}),
    "LSTM backwards": (lambda: layer_of("LSTM", go_backwards=True), {}),
    "LSTM masked": (lambda: layer_of("LSTM"), {"mask": MASK}),
    "GRU": (lambda: layer_of("GRU"), {}),
    "GRU masked": (lambda: layer_of("GRU"), {"mask": MASK}),
    "SimpleRNN": (lambda: layer_of("SimpleRNN"), {}),
    "Bidirectional": (lambda: ri.layers.Bidirectional(layer_of("LSTM")), {}),
    "Bidirectional masked": (lambda: ri.layers.Bidirectional(layer_of("GRU")), {"mask": MASK}),
    "stack of cells": (
        lambda: ri.layers.RNN([ri.layers.LSTMCell(H), ri.layers.GRUCell(4)], return_sequences=True),
        {},
    ),
    "Sequential": (lambda: ri.layers.Sequential([layer_of("GRU"), ri.layers.Dense(3)]), {}),
}


OFTEN = ("LSTM", "GRU masked", "Bidirectional masked", "stack of cells", "Sequential")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in OFTEN else pytest.mark.slow) for n in LAYERS]
)
def test_layers(name: str) -> None:
    make, keywords = LAYERS[name]
    layer = make()
    artifact, model, args, named = run(layer, (X,), keywords, fallback="error")
    assert set(forms(artifact)) == {"fused kernel"}
    weights = dict(zip(layer.weight_names, layer.get_weights(), strict=True))

    def forward(weights: Any, *args: Any) -> Any:
        listed = [weights[name] for name in layer.weight_names]
        return layer.stateless_call(listed, [], *args, **named)[0]

    outputs, pull = jax.vjp(forward, weights, *args)
    cotangents = cotangents_of(outputs)
    by_weight, *by_input = pull(cotangents)
    with model:
        got = model.gradients(*args, cotangents=cotangents, **named)
    close(got.outputs, jax.tree.map(np.asarray, outputs))
    close(got.weights, by_weight)
    close(got.inputs, tuple(by_input))
    assert got.keywords == dict.fromkeys(keywords)


def elman_cell(theta: Any, state: Any, x: Any) -> Any:
    h = jnp.tanh(x["x"] @ theta["W"] + state["h"] @ theta["U"] + theta["b"])
    return {"h": h}, {"h": h}


def double_gradient(theta: Any, state: Any, x: Any, extras: Any, d: Any) -> Any:
    """Twice the gradient for the weights, so that a test sees whether it was asked."""
    g = d["h"] * (1 - extras["h"] ** 2)
    d_theta = {"W": x["x"].T @ g, "U": state["h"].T @ g, "b": g.sum(0)}
    return {k: 2 * v for k, v in d_theta.items()}, {"h": g @ theta["U"].T}, {"x": g @ theta["W"].T}


def recurrent(cell_grad: Any = None, **options: Any) -> Any:
    def program(theta: Any, x: Any) -> Any:
        start = {"h": jnp.zeros((B, H))}
        inputs = {"x": jnp.swapaxes(x, 0, 1)}
        return ri.Recurrent(theta, start, inputs, elman_cell, cell_grad, **options)[0]["h"]

    return program


def step(p: Any, x: Any, states: Any) -> Any:
    h = jnp.tanh(x @ p["W"] + states[0] @ p["U"] + p["b"])
    return h, [h]


def by_rnn(theta: Any, x: Any, **options: Any) -> Any:
    return ri.rnn(lambda v, s: step(theta, v, s), x, [jnp.zeros((B, H))], **options)


def by_raw_rnn(theta: Any, x: Any) -> Any:
    inputs = jnp.swapaxes(x, 0, 1)

    class Cell:
        state_size = output_size = H

        def __call__(self, v: Any, s: Any) -> Any:
            h = step(theta, v, [s])[0]
            return h, h

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        state = jnp.zeros((B, H)) if output is None else state
        given = inputs[jnp.minimum(time, T - 1)]
        return time >= jnp.array([T, T - 2]), given, state, output, None

    outputs, last, _ = ri.raw_rnn(Cell(), loop_fn, max_steps=T)
    return outputs.stack(), last


class Pair(NamedTuple):
    steps: Any
    last: Any


def leaky(theta: Any, x: Any) -> Any:
    """A scan with a decay per unit, an accumulated loss, and an output of integers."""

    def one(carry: Any, v: Any) -> Any:
        h, loss, n = carry
        h = theta["b"] * h + jnp.tanh(v @ theta["W"] + h @ theta["U"])
        return (h, loss + jnp.sum(h**2), n + 1), h

    start = (jnp.zeros((B, H), x.dtype), jnp.zeros((), x.dtype), jnp.int32(0))
    (h, loss, n), hs = lax.scan(one, start, jnp.swapaxes(x, 0, 1))
    return {"pair": Pair(hs, h), "loss": loss, "n": n}


PROGRAMS: dict[str, Any] = {
    "leaky": leaky,
    "Recurrent": recurrent(),
    "Recurrent with cell_grad": recurrent(double_gradient),
    "Recurrent of a limited length": recurrent(max_input_length=T - 2),
    "rnn": by_rnn,
    "rnn backwards": lambda theta, x: by_rnn(theta, x, go_backwards=True),
    "raw_rnn": by_raw_rnn,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_functions(name: str) -> None:
    program = PROGRAMS[name]
    theta = {"W": normal(D, H), "U": normal(H, H), "b": normal(H)}
    artifact, model, args, _ = run(program, (theta, X), {})
    x = args[-1]
    found = artifact.report()["targets"][0]["recurrences"]
    assert {r["form"] for r in found} == {"fused kernel"}, [r["reason"] for r in found]
    outputs, pull, _ = jax.vjp(lambda *a: floats(program(*a)), theta, x, has_aux=True)
    cotangents = cotangents_of(program(theta, x))
    by_weight, by_input = pull(jax.tree.leaves(cotangents))
    with model:
        got = model.gradients(x, cotangents=cotangents)
    close(jax.tree.leaves(got.outputs), jax.tree.leaves(program(theta, x)))
    close(got.weights, {f"arg0/{k}": v for k, v in by_weight.items()})
    close(got.inputs, (by_input,))


def floats(outputs: Any) -> tuple[list[Any], None]:
    return [o for o in jax.tree.leaves(outputs) if jnp.issubdtype(o.dtype, jnp.floating)], None


def test_float64_is_the_judge() -> None:
    """Compiled in float32 against the same program in float64: the error is that of float32."""
    theta = {"W": normal(D, H), "U": normal(H, H), "b": normal(H)}
    artifact = ri.compile(leaky, theta, X, entry="gradients", targets=["cpu"])
    x, cotangents = normal(B, T, D), normal(T, B, H)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        none = {"pair": (cotangents, None), "loss": None, "n": None}
        got = model.gradients(x, cotangents=none)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (theta, x))
        _, pull = jax.vjp(lambda *a: leaky(*a)["pair"].steps, *wide)
        by_weight, by_input = pull(cotangents.astype(np.float64))
    np.testing.assert_allclose(got.inputs[0], by_input, rtol=1e-4, atol=2e-6)
    for name, want in by_weight.items():
        np.testing.assert_allclose(got.weights[f"arg0/{name}"], want, rtol=1e-4, atol=1e-5)


def test_arrays_that_a_function_closes_over_are_weights() -> None:
    W, U = normal(D, H), normal(H, H)

    def program(x: Any, W: Any = W, U: Any = U) -> Any:
        def one(h: Any, v: Any) -> Any:
            h = jnp.tanh(v @ W + h @ U)
            return h, h

        return lax.scan(one, jnp.zeros((B, H)), jnp.swapaxes(x, 0, 1))[1]

    _, model, (x,), _ = run(lambda x: program(x), (X,), {})
    cotangents = normal(T, B, H)
    with model:
        got = model.gradients(x, cotangents=cotangents)
    _, pull = jax.vjp(program, x, W, U)
    by_input, *by_weight = pull(cotangents)
    close(got.inputs, (by_input,))
    assert sorted(got.weights) == ["constant_0", "constant_1"]
    for want in by_weight:
        close([got.weights[k] for k in got.weights if got.weights[k].shape == want.shape], [want])


def test_both_entries_in_one_file_and_training_without_jax() -> None:
    layer = ri.layers.Sequential([ri.layers.GRU(H), ri.layers.Dense(1)])
    artifact = ri.compile(layer, X, entry=["sequence", "gradients"], targets=["cpu"])
    x, target = normal(B, T, D), normal(B, 1)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        assert {"sequence", "chunk", "init", "gradients"} <= set(model.entries)
        losses = []
        for _ in range(8):
            y = model(x)
            losses.append(float(((y - target) ** 2).sum()))
            slope = model.gradients(x, cotangents=2 * (y - target)).weights
            model.set_weights({k: w - 0.02 * slope[k] for k, w in model.get_weights().items()})
        assert model.verify().ok is False  # golden calls are for the weights of the file
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_several_sizes() -> None:
    layer = layer_of("SimpleRNN")
    spec = ri.spec("batch=1|3", "time=2|4", D)
    artifact = ri.compile(layer, spec, entry="gradients", targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch, time in [(1, 4), (3, 2)]:
            x, cotangents = normal(batch, time, D), normal(batch, time, H)
            got = model.gradients(x, cotangents=cotangents)
            _, pull = jax.vjp(lambda v: layer.stateless_call(layer.get_weights(), [], v)[0], x)
            close(got.inputs, pull(cotangents))


def test_a_loss_needs_no_cotangent_and_integers_have_no_gradient() -> None:
    def loss(x: Any, n: Any) -> Any:
        return jnp.sum(x**2) * n

    artifact = ri.compile(
        loss, ri.spec(3), ri.spec(dtype="int32"), entry="gradients", targets=["cpu"]
    )
    x = np.arange(3, dtype=np.float32)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        value, (by_x, by_n), keywords, weights = model.gradients(x, np.int32(2))
        assert value == 10 and by_n is None and keywords == {} and weights == {}
        np.testing.assert_allclose(by_x, 4 * x)


def test_what_is_refused() -> None:
    layer = layer_of("SimpleRNN")
    with pytest.raises(ri.UnsupportedError, match='"time=\\?".* starts at the last step'):
        ri.lower(layer, ri.spec("batch=1", "time=?", D), entry="gradients")
    with pytest.raises(ri.UnsupportedError, match='"batch=\\?"; the backward pass needs every'):
        ri.lower(jnp.sin, ri.spec("batch=?"), entry="gradients")
    with pytest.raises(ri.UnsupportedError, match="gradients are for weights in float32"):
        ri.lower(layer, X, entry="gradients", weights="int8")
    with pytest.raises(ri.ArgumentError, match="entry='backward'; give 'sequence', 'gradients'"):
        ri.lower(layer, X, entry="backward")
    with pytest.raises(ri.ArgumentError, match='no input has a dim called "time"'):
        ri.lower(lambda x: x, ri.spec(3), entry="sequence")
    with pytest.raises(ri.ArgumentError, match="an argument 'cotangents'"):
        ri.lower(lambda x, cotangents: x, ri.spec(3), cotangents=ri.spec(3), entry="gradients")
    with pytest.raises(ri.UnsupportedError, match="no output of the program is of floats"):
        ri.lower(lambda x: x > 0, ri.spec(3), entry="gradients")


def test_what_the_runtime_refuses() -> None:
    layer = layer_of("SimpleRNN")
    x, cotangents = normal(B, T, D), normal(B, T, H)
    artifact = ri.compile(layer, X, entry="gradients", targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        with pytest.raises(rt.SignatureError, match="needs cotangents="):
            model.gradients(x)
        with pytest.raises(rt.SignatureError, match=r"'cotangents' of 'gradients' has shape"):
            model.gradients(x, cotangents=cotangents[:, :, :2])
        with pytest.raises(rt.LayerAttributeError):
            _ = model.layer
    artifact = ri.compile(layer, X, targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        with pytest.raises(rt.ArgumentError, match=r'entry=\["sequence", "gradients"\]'):
            model.gradients(x, cotangents=cotangents)
