"""Scans taken apart give the numbers of `lax.scan`, and the products leave the loop."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax

from recurrent_iree._capture import _pieces
from recurrent_iree._capture._composite import RECURRENCE
from recurrent_iree._capture._jaxpr import evaluate
from recurrent_iree._capture._scan import lower_scan

B, T, D, H = 2, 5, 4, 6


def take_apart(function: Callable[..., Any], *args: Any) -> tuple[Any, list[Any]]:
    """The jaxpr of `function` with its scans lowered, after checking its numbers."""
    jaxpr = jax.make_jaxpr(function)(*args)

    def lowered(*values: Any) -> list[Any]:
        return evaluate(jaxpr, jax.tree.leaves(values), {"scan": lower_scan})

    got = jax.jit(lowered)(*args)
    want = jax.tree.leaves(jax.jit(function)(*args))
    for one, other in zip(got, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)
    return jax.make_jaxpr(lowered)(*args), got


def primitives(jaxpr: Any) -> list[str]:
    return [eqn.primitive.name for eqn in jaxpr.eqns]


def in_loop(jaxpr: Any) -> list[str]:
    """The primitives that stay in the cells of the recurrences of `jaxpr`."""
    names: list[str] = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "composite" and eqn.params["name"] == RECURRENCE:
            names.extend(_nested(eqn.params["jaxpr"]))
    return names


def _nested(jaxpr: Any) -> list[str]:
    names: list[str] = []
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        inner = [v for v in eqn.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
        names.extend(n for part in inner for n in _nested(part))
        if not inner:
            names.append(eqn.primitive.name)
    return names


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"W": (D, 4 * H), "U": (H, 4 * H), "b": (4 * H,), "V": (H, 3), "x": (B, T, D)}
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def lstm_step(p: dict[str, Any], carry: Any, v: Any) -> Any:
    h, c = carry
    i, f, g, o = jnp.split(v @ p["W"] + h @ p["U"] + p["b"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def lstm(p: dict[str, Any]) -> Any:
    zero = jnp.zeros((B, H))

    def step(carry: Any, v: Any) -> Any:
        carry, h = lstm_step(p, carry, v)
        return carry, jax.nn.softmax(h @ p["V"])

    return lax.scan(step, (zero, zero), jnp.swapaxes(p["x"], 0, 1))


def test_the_input_projection_is_one_product_before_the_loop() -> None:
    jaxpr, _ = take_apart(lstm, weights())
    names = primitives(jaxpr)
    assert names.index("dot_general") < names.index("composite")
    assert names[: names.index("composite")].count("dot_general") == 1
    product = next(e for e in jaxpr.eqns if e.primitive.name == "dot_general")
    assert product.outvars[0].aval.shape == (T, B, 4 * H)


def test_the_output_projection_is_one_product_after_the_loop() -> None:
    jaxpr, _ = take_apart(lstm, weights())
    names = primitives(jaxpr)
    assert names[names.index("composite") :].count("dot_general") == 1
    assert in_loop(jaxpr).count("dot_general") == 1


def test_outputs_that_no_carry_touches_leave_the_loop() -> None:
    def program(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            return c + v, (v * 2, c, 1.0, v[0], jnp.zeros(3))

        return lax.scan(step, jnp.zeros((B, D)), jnp.swapaxes(x, 0, 1))

    jaxpr, _ = take_apart(program, weights()["x"])
    assert "mul" in primitives(jaxpr)
    assert "mul" not in in_loop(jaxpr)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_carry_that_ignores_the_old_carry(reverse: bool) -> None:
    def program(x: Any) -> Any:
        return lax.scan(
            lambda c, v: (v, c), jnp.zeros((B, D)), jnp.swapaxes(x, 0, 1), reverse=reverse
        )

    take_apart(program, weights()["x"])


def test_scans_without_step_inputs_and_counted_loops() -> None:
    def program(x: Any) -> Any:
        counted = lax.fori_loop(0, T, lambda i, c: c * 0.5 + x[:, i], jnp.zeros((B, D)))
        free = lax.scan(lambda c, _: (jnp.tanh(c) + 0.1, c), x[:, 0], None, length=T)
        return counted, free

    jaxpr, _ = take_apart(program, weights()["x"])
    assert primitives(jaxpr).count("composite") == 2


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [8, 11, 13])
def test_long_loops_run_in_pieces(
    reverse: bool, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pieces, "LARGE", 0)
    monkeypatch.setattr(_pieces, "PIECE", 256)
    w = weights()
    x = np.random.default_rng(1).standard_normal((steps, B, D)).astype(np.float32)

    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh((v @ w["W"] + h @ w["U"] + w["b"])[:, :H])
            return h, (h @ w["V"], v * 2, 1.0, h)

        return lax.scan(step, jnp.zeros((B, H)), x, reverse=reverse)

    jaxpr, _ = take_apart(program, x)
    assert primitives(jaxpr).count("composite") == steps // 4
    assert in_loop(jaxpr).count("dot_general") == steps // 4


def test_a_single_step_keeps_its_products_in_the_loop() -> None:
    w = weights()

    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh((v @ w["W"] + h @ w["U"] + w["b"])[:, :H])
            return h, h @ w["V"]

        return lax.scan(step, jnp.zeros((B, H)), jnp.swapaxes(x, 0, 1))[1]

    jaxpr, _ = take_apart(program, w["x"][:, :1])
    assert in_loop(jaxpr).count("dot_general") == 3
    assert "dot_general" not in primitives(jaxpr)
    jaxpr, _ = take_apart(program, w["x"][:, :2])
    assert in_loop(jaxpr).count("dot_general") == 1


@pytest.mark.parametrize("steps", [0, 1])
def test_scans_of_no_and_one_step(steps: int) -> None:
    def program(p: dict[str, Any]) -> Any:
        return lstm({**p, "x": p["x"][:, :steps]})

    jaxpr, _ = take_apart(program, weights())
    assert primitives(jaxpr).count("composite") == steps


def test_nested_scans_stay_in_the_cell() -> None:
    def program(x: Any) -> Any:
        def outer(c: Any, v: Any) -> Any:
            inner, _ = lax.scan(lambda a, u: (a * 0.5 + u, None), c, v)
            return inner, inner

        return lax.scan(outer, jnp.zeros(D), x)

    jaxpr, _ = take_apart(program, weights()["x"])
    assert primitives(jaxpr).count("composite") == 1


def _flax() -> Callable[[Any], Any]:
    from flax import linen as nn

    module = nn.RNN(nn.LSTMCell(H))
    params = module.init(jax.random.key(0), jnp.zeros((B, T, D)))
    return lambda x: module.apply(params, x)


def _haiku_gru() -> Callable[[Any], Any]:
    return _haiku("GRU")


def _haiku_lstm() -> Callable[[Any], Any]:
    return _haiku("LSTM")


def _haiku(name: str) -> Callable[[Any], Any]:
    import haiku as hk

    def unroll(x: Any) -> Any:
        core = getattr(hk, name)(H)
        return hk.dynamic_unroll(core, jnp.swapaxes(x, 0, 1), core.initial_state(B))[0]

    transformed = hk.without_apply_rng(hk.transform(unroll))
    params = transformed.init(jax.random.key(0), jnp.zeros((B, T, D)))
    return lambda x: transformed.apply(params, x)


def _equinox() -> Callable[[Any], Any]:
    import equinox as eqx

    cell = eqx.nn.GRUCell(D, H, key=jax.random.key(0))

    def one(xs: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cell(v, h)
            return h, h

        return lax.scan(step, jnp.zeros(H), xs)[1]

    return jax.vmap(one)


@pytest.mark.parametrize("library", [_flax, _haiku_gru, _haiku_lstm, _equinox])
def test_recurrences_of_other_libraries_are_found(library: Callable[[], Any]) -> None:
    jaxpr, _ = take_apart(library(), weights()["x"])
    names = primitives(jaxpr)
    assert names.count("composite") == 1
    assert names[: names.index("composite")].count("dot_general") == 1


def test_a_product_of_a_concatenation_leaves_the_loop_in_part() -> None:
    p = weights()
    kernel = np.concatenate([p["W"], p["U"]])[:, :H]

    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh(jnp.concatenate([v, h], 1) @ kernel)
            return h, h

        return lax.scan(step, jnp.zeros((B, H)), jnp.swapaxes(x, 0, 1))[1]

    jaxpr, _ = take_apart(program, p["x"])
    assert "dot_general" in primitives(jaxpr)
    assert in_loop(jaxpr).count("dot_general") == 1
    assert "concatenate" not in in_loop(jaxpr)


OPS = {
    "joined": lambda a, b, p: jnp.concatenate([a, b], -1) @ p["tall"],
    "product": lambda a, b, p: a @ p["square"],
    "tanh": lambda a, b, p: jnp.tanh(a),
    "add": lambda a, b, p: a + b,
    "mul": lambda a, b, p: a * b,
    "bias": lambda a, b, p: a + p["bias"],
    "roll": lambda a, b, p: jnp.roll(a, 1, -1),
    "split": lambda a, b, p: jnp.concatenate(jnp.split(a, 2, -1)[::-1], -1),
    "norm": lambda a, b, p: a - a.mean(-1, keepdims=True),
    "select": lambda a, b, p: jnp.where(b > 0, a, b),
}


@settings(max_examples=25, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(sorted(OPS)), st.integers(0, 7), st.integers(0, 7)),
        min_size=1,
        max_size=8,
    ),
    picks=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    reverse=st.booleans(),
    seed=st.integers(0, 99),
)
def test_random_bodies_keep_their_numbers(
    plan: list[tuple[str, int, int]], picks: list[int], reverse: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    params = {
        "square": rng.standard_normal((4, 4)).astype(np.float32) * 0.3,
        "bias": rng.standard_normal(4).astype(np.float32),
        "tall": rng.standard_normal((8, 4)).astype(np.float32) * 0.3,
    }
    xs = rng.standard_normal((T, B, 4)).astype(np.float32)

    def program(params: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            values = [carry, x, params["bias"] + jnp.zeros_like(x)]
            for name, a, b in plan:
                values.append(OPS[name](values[a % len(values)], values[b % len(values)], params))
            first, second, third = (values[k % len(values)] for k in picks)
            return jnp.tanh(first), (second, third)

        return lax.scan(step, jnp.ones((B, 4), jnp.float32), xs, reverse=reverse)

    take_apart(program, params, xs)


def test_a_scan_that_carries_nothing_leaves_no_loop() -> None:
    def program(x: Any) -> Any:
        return lax.scan(lambda c, v: (c, v @ jnp.ones((D, 2))), (), jnp.swapaxes(x, 0, 1))[1]

    jaxpr, _ = take_apart(program, weights()["x"])
    assert "composite" not in primitives(jaxpr)


def test_a_very_long_loop_has_pieces_that_fit_a_cache() -> None:
    for size, length, count in ((8, 100, 6), (64, 100, 10), (500, 1000, 20), (500, 40, 10)):
        assert _pieces.pieces_of(size << 20, length) == count
