"""What must hold for any sequence: chunks, unrolling, masks, resets, directions."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from recurrent_iree import layers

KINDS = {
    "lstm": lambda **options: layers.LSTM(4, **options),
    "gru": lambda **options: layers.GRU(4, **options),
    "stack": lambda **options: layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], **options),
}
TIME = 6
SEEDS = st.integers(0, 2**16)


def make(kind, like=None, **options):
    layer = KINDS[kind](return_sequences=True, return_state=True, **options)
    layer.build((2, TIME, 3))
    if like is not None:
        layer.set_weights(like.get_weights())
    return layer


def inputs_of(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, TIME, 3)).astype(np.float32), rng.random((2, TIME)) < 0.6


def same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


WHOLE = {kind: make(kind) for kind in KINDS}
STATEFUL = {kind: make(kind, WHOLE[kind], stateful=True) for kind in KINDS}
UNROLLED = {kind: make(kind, WHOLE[kind], unroll=True) for kind in KINDS}
BACKWARDS = {kind: make(kind, WHOLE[kind], go_backwards=True) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, cut=st.integers(1, TIME - 1))
@settings(max_examples=4, deadline=None)
def test_stateful_chunks_equal_the_whole(kind, seed, cut):
    x, _ = inputs_of(seed)
    want, *states = WHOLE[kind](x)
    layer = STATEFUL[kind]
    layer.reset_states()
    first, *_ = layer(x[:, :cut])
    second, *got_states = layer(x[:, cut:])
    same([np.concatenate([first, second], 1), *got_states], [want, *states])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_unrolled_equals_the_loop(kind, seed):
    x, mask = inputs_of(seed)
    same(UNROLLED[kind](x, mask=mask), WHOLE[kind](x, mask=mask))
    same(UNROLLED[kind](x), WHOLE[kind](x))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_backwards_equals_the_flipped_sequence(kind, seed):
    x, mask = inputs_of(seed)
    same(BACKWARDS[kind](x, mask=mask), WHOLE[kind](x[:, ::-1], mask=mask[:, ::-1]))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_masked_steps_are_as_if_they_were_not_there(kind, seed):
    x, mask = inputs_of(seed)
    outputs, *states = WHOLE[kind](x, mask=mask)
    for row in range(2):
        valid = x[row : row + 1, mask[row]]
        if valid.shape[1] == 0:
            assert (outputs[row] == 0).all()
            continue
        want, *want_states = WHOLE[kind](valid)
        same([outputs[row][mask[row]]], [want[0]])
        same([state[row] for state in states], [state[0] for state in want_states])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_a_reset_starts_a_new_sequence(kind, seed):
    x, reset = inputs_of(seed)
    outputs, *states = WHOLE[kind](x, reset=reset)
    for row in range(2):
        starts = sorted({0, *np.flatnonzero(reset[row])})
        for start, stop in zip(starts, [*starts[1:], TIME], strict=True):
            want, *want_states = WHOLE[kind](x[row : row + 1, start:stop])
            same([outputs[row, start:stop]], [want[0]])
        same([state[row] for state in states], [state[0] for state in want_states])


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_restarts_masked_outputs_too(kind):
    x, _ = inputs_of(0)
    mask = np.array([[1, 1, 0, 1, 0, 1]] * 2)
    reset = np.array([[0, 0, 1, 0, 0, 0]] * 2)
    outputs, *states = WHOLE[kind](x, mask=mask, reset=reset)
    want, *want_states = WHOLE[kind](x[:, 2:], mask=mask[:, 2:])
    same([outputs[:, 2:], *states], [want, *want_states])
    assert (outputs[:, 2] == 0).all()


def test_zero_output_for_mask():
    layer = layers.GRU(4, return_sequences=True, return_state=True, zero_output_for_mask=True)
    layer.build((None, None, 3))
    plain = layers.RNN(layer.cell, return_sequences=True, return_state=True)
    x, mask = inputs_of(1)
    outputs, state = layer(x, mask=mask)
    want, want_state = plain(x, mask=mask)
    same([outputs, state], [np.where(mask[..., None], want, 0), want_state])
