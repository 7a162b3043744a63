"""`rnn` against a float64 NumPy loop, and against itself by other routes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

import recurrent_iree as ri

BATCH, WIDTH, UNITS, OUT = 2, 3, 3, 2
quick = settings(max_examples=20, deadline=None)
RULES = ("previous", "zeros", "first_state")
RANDOM = np.random.default_rng(7)
WEIGHTS = [RANDOM.normal(size=shape) for shape in ((WIDTH, UNITS), (UNITS, UNITS), (UNITS, OUT))]
SQUARE = [WEIGHTS[0], WEIGHTS[1], np.eye(UNITS)]


def cell(x: Any, states: Any, weights: Any, xp: Any) -> tuple[Any, list]:
    """The output is not the state, and the second state is an integer."""
    h = xp.tanh(x @ weights[0] + states[0] @ weights[1])
    return h @ weights[2], [h, states[1] + 1]


def reference(
    x: np.ndarray, states: list, weights: list, rule: str, mask: Any, reset: Any, first: Any
) -> tuple[Any, Any, list]:
    """The loop of the documentation, one row and one step at a time; x is [time, batch, …]."""
    previous = np.zeros((BATCH, weights[2].shape[1])) if first is None else first.copy()
    states, outputs = [state.copy() for state in states], []
    for t in range(len(x)):
        for b in range(BATCH):
            if reset is not None and reset[t, b]:
                states[0][b], states[1][b], previous[b] = 0, 0, 0
        output, new = cell(x[t], states, weights, np)
        for b in range(BATCH):
            if mask is not None and not mask[t, b]:
                choice = {"previous": previous, "zeros": 0 * output, "first_state": states[0]}
                output[b] = choice[rule][b]
                new = [np.concatenate([n[:b], s[b : b + 1], n[b + 1 :]]) for n, s in
                       zip(new, states, strict=True)]  # fmt: skip
        states, previous = new, output
        outputs.append(output.copy())
    last = outputs[-1] if outputs else previous
    return last, np.reshape(outputs, (len(x), *previous.shape)), states


@st.composite
def calls(draw: st.DrawFn, masked: bool = False, rules: tuple[str, ...] = RULES) -> dict[str, Any]:
    """Arguments of one call, time-major."""
    time = draw(st.integers(1, 5))
    rows = st.lists(st.booleans(), min_size=time * BATCH, max_size=time * BATCH)
    bits = rows.map(lambda bits: np.array(bits).reshape(time, BATCH))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    rule = draw(st.sampled_from(rules))
    width = UNITS if rule == "first_state" else OUT
    return {
        "x": random.normal(size=(time, BATCH, WIDTH)),
        "states": [random.normal(size=(BATCH, UNITS)), np.arange(BATCH, dtype=np.int32)],
        "mask": draw(bits if masked else st.none() | bits),
        "reset": draw(st.none() | bits),
        "rule": rule,
        "first": draw(st.sampled_from([None, random.normal(size=(BATCH, width))])),
    }


def options(call: dict[str, Any]) -> dict[str, Any]:
    if call["rule"] == "zeros":
        return {"zero_output_for_mask": True}
    return {"masked_output": call["rule"]}


def run(call: dict[str, Any], **more: Any) -> tuple[Any, Any, list]:
    weights = SQUARE if call["rule"] == "first_state" else WEIGHTS
    arguments = {
        "mask": call["mask"],
        "reset": call["reset"],
        "initial_output": call["first"],
        "time_major": True,
        **options(call),
        **more,
    }
    step = lambda x, states: cell(x, states, weights, jnp)  # noqa: E731
    return ri.rnn(step, call["x"], call["states"], **arguments)


def check(got: Any, want: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


@quick
@given(calls(), st.booleans(), st.sampled_from([False, True, 2]))
def test_numpy_loop(call: dict[str, Any], go_backwards: bool, unroll: bool | int) -> None:
    turn = (lambda a: None if a is None else a[::-1]) if go_backwards else (lambda a: a)
    weights = SQUARE if call["rule"] == "first_state" else WEIGHTS
    x, mask, reset = (turn(call[name]) for name in ("x", "mask", "reset"))
    want = reference(x, call["states"], weights, call["rule"], mask, reset, call["first"])
    with jax.enable_x64(True):
        check(run(call, go_backwards=go_backwards, unroll=unroll), want)


@quick
@given(calls(masked=True), st.booleans(), st.data())
def test_chunks_equal_the_whole(call: dict[str, Any], go_backwards: bool, data: Any) -> None:
    time = len(call["x"])
    cut = data.draw(st.integers(0, time))
    pieces = [slice(0, cut), slice(cut, time)]
    with jax.enable_x64(True):
        last, outputs, states = run(call, go_backwards=go_backwards)
        parts, carried = [], dict(call)
        for piece in reversed(pieces) if go_backwards else pieces:
            chunk = {
                **carried,
                "x": call["x"][piece],
                "mask": call["mask"][piece],
                "reset": None if call["reset"] is None else call["reset"][piece],
            }
            carried["first"], rows, carried["states"] = run(chunk, go_backwards=go_backwards)
            parts.append(rows)
        got = (carried["first"], np.concatenate(parts), carried["states"])
    check(got, (last, outputs, states))


@quick
@given(calls(), st.booleans())
def test_batch_major_is_the_transpose(call: dict[str, Any], go_backwards: bool) -> None:
    turned = {
        name: None if call[name] is None else call[name].swapaxes(0, 1)
        for name in ("x", "mask", "reset")
    }
    with jax.enable_x64(True):
        last, outputs, states = run(call, go_backwards=go_backwards)
        got = run({**call, **turned}, go_backwards=go_backwards, time_major=False)
    check(got, (last, outputs.swapaxes(0, 1), states))


@settings(max_examples=10, deadline=None)
@given(calls(), st.lists(st.integers(0, 5), min_size=BATCH, max_size=BATCH), st.booleans())
def test_lengths_are_a_mask(call: dict[str, Any], lengths: list[int], go_backwards: bool) -> None:
    time = len(call["x"])
    valid = np.minimum(lengths, time)
    mask = np.arange(time)[:, None] < valid[None, :]
    with jax.enable_x64(True):
        want = run({**call, "mask": mask}, go_backwards=go_backwards)
        for unroll in (False, True):
            more = {"go_backwards": go_backwards, "unroll": unroll}
            check(run({**call, "mask": None}, input_length=valid, **more), want)


@settings(max_examples=6, deadline=None)
@given(calls(masked=True), st.integers(0, 2))
def test_mask_dtype_and_rank(call: dict[str, Any], kind: int) -> None:
    mask = call["mask"]
    given = [mask.astype(np.float32), mask.astype(np.int8)[..., None], mask[..., None]][kind]
    with jax.enable_x64(True):
        check(run({**call, "mask": given}), run(call))


@settings(max_examples=5, deadline=None)
@given(calls(), st.booleans())
def test_gradients_by_finite_differences(call: dict[str, Any], go_backwards: bool) -> None:
    def loss(x: Any, h: Any) -> Any:
        changed = {**call, "x": x, "states": [h, call["states"][1]]}
        last, outputs, states = run(changed, go_backwards=go_backwards)
        return (outputs**2).sum() + jnp.sin(last).sum() + states[0].sum()

    with jax.enable_x64(True):
        check_grads(loss, (call["x"], call["states"][0]), 1, ["rev"])


def test_step_by_step_equals_sequence() -> None:
    x = jnp.asarray(RANDOM.normal(size=(BATCH, 6, WIDTH)), jnp.float32)
    weights = [jnp.asarray(w, jnp.float32) for w in WEIGHTS]
    step = lambda x, states: cell(x, states, weights, jnp)  # noqa: E731
    states = [jnp.zeros((BATCH, UNITS)), jnp.zeros(BATCH, jnp.int32)]
    _, outputs, final = ri.rnn(step, x, states)
    one = jax.jit(lambda x, states: ri.rnn(step, x, states))
    for t in range(6):
        last, _, states = one(x[:, t : t + 1], states)
        np.testing.assert_allclose(last, outputs[:, t], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(states[0], final[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_masked_zero_first_steps_keep_initial_output(go_backwards: bool) -> None:
    x = jnp.ones((1, 2, 1))
    first = jnp.full((1, 1), 9.0)
    last, outputs, _ = ri.rnn(
        lambda x, s: (x, s), x, [first], go_backwards, jnp.zeros((1, 2)), initial_output=first
    )
    assert outputs.ravel().tolist() == [9.0, 9.0] and last.item() == 9.0
