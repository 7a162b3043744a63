"""Defects of the originals that are fixed and have no other test of their own."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
from recurrent_iree import coverage_of_seeds as coverage, layers

ROOT = Path(__file__).parents[2]
X = jnp.arange(12.0).reshape(2, 3, 2)
H = jnp.ones((2, 2))
MASK = jnp.array([[0, 1, 0], [1, 0, 1]])


def add(x, states):
    return x + states[0], [x + states[0]]


def test_every_defect_of_the_page_has_a_test() -> None:
    page = (ROOT / "docs/original_defects.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| r1", "| r2"))]
    assert len(rows) > 30
    for row in rows:
        named = row[-1].split("`")[1::2]
        assert named, f"no test proves {row}"
        for test in named:
            prefixes = ("", "recurrent_iree/")
            assert any(coverage.exists(prefix + test, ROOT) for prefix in prefixes), test


def test_recurrent_without_time_steps() -> None:
    def last(state):
        run = ri.Recurrent({}, state, jnp.ones((0, 3)), lambda w, s, x: (s + x, ()))
        assert run[0].shape == (0, 3)
        return run[1].sum()

    value, gradient = jax.value_and_grad(last)(jnp.ones(3))
    assert value == 3 and gradient.tolist() == [1, 1, 1]


def test_rnn_unrolled_with_dictionaries() -> None:
    def step(x, states):
        h = x["a"] + x["b"] + states[0]
        return {"h": h, "twice": (2 * h,)}, [h]

    inputs = {"a": X, "b": 2 * X}
    loop = ri.rnn(step, inputs, [H], mask=MASK)
    unrolled = ri.rnn(step, inputs, [H], mask=MASK, unroll=True)
    assert jax.tree.structure(loop) == jax.tree.structure(unrolled)
    for one, other in zip(jax.tree.leaves(loop), jax.tree.leaves(unrolled), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("unroll", [False, True])
def test_r1_1_states_in_a_tuple_and_of_several_widths(unroll) -> None:
    def step(x, states):
        h, wide = states
        return x + h, [x + h, wide + 1]

    wide = jnp.zeros((2, 5, 4))
    _, _, states = ri.rnn_r1_1(step, X, (H, wide), mask=MASK, unroll=unroll)
    np.testing.assert_array_equal(states[1][:, 0, 0], MASK.sum(1))
    with pytest.raises(ValueError, match="`mask` was given, but `initial_states` is empty"):
        ri.rnn_r1_1(lambda x, s: (x, []), X, [], mask=MASK, unroll=unroll)


@pytest.mark.parametrize("unroll", [False, True])
def test_a_mask_of_rank_2_with_inputs_of_rank_4(unroll) -> None:
    deep, start = X[..., None], H[..., None]
    want = ri.rnn_r1_1(add, X, [H], mask=MASK, unroll=unroll)[1]
    got = ri.rnn_r1_1(add, deep, [start], mask=MASK, unroll=unroll)[1]
    np.testing.assert_array_equal(got[..., 0], want)

    class Cell:
        state_size = layers.TensorShape([2, 1])

        def call(self, inputs, states):
            return add(inputs, states)

    layer = layers.RNN(Cell(), return_sequences=True, unroll=unroll)
    want = ri.rnn(add, X, [H], mask=MASK)[1]
    got = layer(deep, mask=MASK, initial_state=start)
    np.testing.assert_array_equal(got[..., 0], want)


class Counter:
    """An int state and a float output."""

    state_size, output_size = 1, 2

    def __call__(self, x, state):
        return 0.5 * x, state + 1


def test_raw_rnn_emits_in_the_dtype_of_the_output_and_hands_on_no_surrogate() -> None:
    def loop_fn(time, output, state, loop_state):
        assert loop_state is None
        state = jnp.zeros((2, 1), jnp.int32) if output is None else state
        return time >= jnp.array([2, 1]), H, state, output, None

    emit_ta, state, loop_state = ri.raw_rnn(Counter(), loop_fn)
    assert emit_ta.stack().dtype == jnp.float32 and emit_ta.stack()[:, 0, 0].tolist() == [0.5, 0.5]
    assert state.tolist() == [[2], [1]] and loop_state is None
