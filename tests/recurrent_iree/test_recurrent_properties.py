"""`Recurrent` against a float64 NumPy loop, cut into chunks, and against finite differences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

import recurrent_iree as ri

quick = settings(max_examples=15, deadline=None)
BATCH, WIDTH = 2, 3


def cell(theta: Any, state: Any, inputs: Any, xp: Any = jnp) -> tuple[Any, Any]:
    """Nested trees, a rank-0 state and an integer one."""
    (h, mean), count = state["float"], state["count"]
    h = xp.tanh(inputs[0] + h @ theta["w"] + mean) * inputs[1]["gate"]
    return {"float": (h, 0.5 * mean + h.mean()), "count": count + 1}, [h]


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, Any, Any, int, int]:
    time = draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    theta = {"w": random.normal(size=(WIDTH, WIDTH))}
    state = {
        "float": (random.normal(size=(BATCH, WIDTH)), np.float64(random.normal())),
        "count": np.int32(3),
    }
    inputs = (random.normal(size=(time, BATCH, WIDTH)), {"gate": random.normal(size=time)})
    return theta, state, inputs, time, draw(st.integers(0, time))


def at(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def check(got: Any, want: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


@quick
@given(calls(), st.sampled_from(["static", "dynamic", "exit"]))
def test_numpy_loop(call: Any, form: str) -> None:
    theta, state, inputs, time, length = call
    final, rows = state, []
    for t in range(length):
        final, _ = cell(theta, final, at(inputs, t), np)
        rows.append(final)
    rows += [jax.tree.map(np.zeros_like, state)] * (time - length)
    want = (jax.tree.map(lambda *leaves: np.stack(leaves), *rows), final)
    with jax.enable_x64(True):
        limit = length if form == "static" else jnp.int32(length)
        got = ri.Recurrent(
            theta, state, inputs, cell, max_input_length=limit, use_tpu=form == "exit"
        )
    check(got, want)


@quick
@given(calls())
def test_chunks_equal_the_whole(call: Any) -> None:
    theta, state, inputs, _, cut = call
    with jax.enable_x64(True):
        want = ri.Recurrent(theta, state, inputs, cell)
        first, carried = ri.Recurrent(theta, state, at(inputs, slice(0, cut)), cell)
        second, final = ri.Recurrent(theta, carried, at(inputs, slice(cut, None)), cell)
    check((jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second), final), want)


@settings(max_examples=2, deadline=None)
@given(calls(), st.booleans())
def test_gradients_by_finite_differences(call: Any, dynamic: bool) -> None:
    theta, state, inputs, _, length = call

    def loss(theta: Any, floats: Any, inputs: Any) -> Any:
        start = {"float": floats, "count": state["count"]}
        limit = jnp.int32(length) if dynamic else length
        acc, final = ri.Recurrent(theta, start, inputs, cell, max_input_length=limit)
        return (acc["float"][0] ** 2).sum() + final["float"][1]

    with jax.enable_x64(True):
        check_grads(loss, (theta, state["float"], inputs), order=2, modes=["rev"])


@settings(max_examples=8, deadline=None)
@given(calls())
def test_gradients_equal_those_of_a_scan(call: Any) -> None:
    theta, state, inputs, _, _ = call

    def total(acc: Any, final: Any) -> Any:
        return jnp.sin(acc["float"][0]).sum() + final["float"][1] * final["float"][0].sum()

    def by_scan(theta: Any, floats: Any, inputs: Any) -> Any:
        start = {"float": floats, "count": state["count"]}
        step = lambda s, x: (cell(theta, s, x)[0],) * 2  # noqa: E731
        final, acc = jax.lax.scan(step, start, inputs)
        return total(acc, final)

    def by_recurrent(theta: Any, floats: Any, inputs: Any) -> Any:
        start = {"float": floats, "count": state["count"]}
        return total(*ri.Recurrent(theta, start, inputs, cell))

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (theta, state["float"], inputs))
        got = jax.grad(by_recurrent, (0, 1, 2))(*arguments)
        check(got, jax.grad(by_scan, (0, 1, 2))(*arguments))
