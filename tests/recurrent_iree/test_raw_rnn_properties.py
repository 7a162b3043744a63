"""`raw_rnn` against the pseudo-code of its page in NumPy, by the host and bounded."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

import recurrent_iree as ri

BATCH, UNITS, ROWS = 3, 2, 5
WEIGHTS = np.random.default_rng(1).normal(size=(UNITS, UNITS))


class Cell:
    """One matrix; the output is not the state."""

    state_size = output_size = UNITS

    def __init__(self, weights: Any, xp: Any):
        self.weights, self.xp = weights, xp

    def __call__(self, x: Any, s: Any) -> tuple[Any, Any]:
        s = self.xp.tanh(x + s @ self.weights)
        return 2 * s, s


def loop(table: Any, xs: Any, start: Any, xp: Any) -> Any:
    """Finishes (and un-finishes) rows by a table; rewrites state and emission."""

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> tuple:
        row = xp.minimum(time, ROWS - 1)
        if output is None:
            return table[row], xs[row], start, None, xs[0, 0, 0]
        return table[row], xs[row], 0.5 * state, output + loop_state, loop_state + output.sum()

    return loop_fn


def reference(cell: Any, loop_fn: Any) -> tuple[Any, Any, Any]:
    """The pseudo-code of the page."""
    finished, x, state, _, loop_state = loop_fn(0, None, None, None)
    time, emits = 0, []
    while not finished.all():
        output, cell_state = cell(x, state)
        later, x, new, emit, loop_state = loop_fn(time + 1, output, cell_state, loop_state)
        state = np.where(finished[:, None], state, new)
        emits.append(np.where(finished[:, None], 0, emit))
        finished = finished | later
        time += 1
    return np.reshape(emits, (time, BATCH, UNITS)), state, loop_state


@st.composite
def calls(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    bits = st.lists(st.booleans(), min_size=ROWS * BATCH, max_size=ROWS * BATCH)
    table = np.array(draw(bits)).reshape(ROWS, BATCH)
    table[-1] = True
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    return table, random.normal(size=(ROWS, BATCH, UNITS)), random.normal(size=(BATCH, UNITS))


def run(call: Any, max_steps: int | None, weights: Any = WEIGHTS) -> tuple[Any, Any, Any]:
    arrays = jax.tree.map(jnp.asarray, call)
    return ri.raw_rnn(Cell(weights, jnp), loop(*arrays, jnp), max_steps=max_steps)


@settings(max_examples=20, deadline=None)
@given(calls(), st.sampled_from([None, ROWS, ROWS + 2]))
def test_pseudo_code(call: Any, max_steps: int | None) -> None:
    emits, state, loop_state = reference(Cell(WEIGHTS, np), loop(*call, np))
    with jax.enable_x64(True):
        emit_ta, *rest = run(call, max_steps)
        got = (emit_ta.stack(), *rest)
    assert int(emit_ta.size()) == len(emits)
    for left, right in zip(got, (emits, state, loop_state), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


@settings(max_examples=3, deadline=None)
@given(calls(), st.sampled_from([None, ROWS + 1]))
def test_gradients_by_finite_differences(call: Any, max_steps: int | None) -> None:
    table, xs, start = call

    def loss(weights: Any, xs: Any, start: Any) -> Any:
        emit_ta, state, loop_state = run((table, xs, start), max_steps, weights)
        return (emit_ta.stack() ** 2).sum() + state.sum() + jnp.sin(loop_state)

    with jax.enable_x64(True):
        arguments = tuple(map(jnp.asarray, (WEIGHTS, xs, start)))
        check_grads(loss, arguments, order=1, modes=["rev"])


@settings(max_examples=8, deadline=None)
@given(calls(), st.lists(st.integers(0, ROWS), min_size=BATCH, max_size=BATCH))
def test_dynamic_rnn_is_rnn_with_lengths(call: Any, lengths: list[int]) -> None:
    _, xs, start = call
    with jax.enable_x64(True):
        cell = Cell(jnp.asarray(WEIGHTS), jnp)
        outputs, state = ri.dynamic_rnn(
            cell, xs, np.array(lengths), jnp.asarray(start), time_major=True
        )

        def step(x: Any, states: list) -> tuple[Any, list]:
            output, new = cell(x, states[0])
            return output, [new]

        _, want, (final,) = ri.rnn(
            step,
            xs,
            [start],
            input_length=np.array(lengths),
            time_major=True,
            zero_output_for_mask=True,
        )
    np.testing.assert_allclose(outputs, want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state, final, rtol=1e-10, atol=1e-12)
