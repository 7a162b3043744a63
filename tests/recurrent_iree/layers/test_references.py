"""Built-in cells against float64 NumPy, row by row."""

import hypothesis.strategies as st
import jax
import layer_references as ref
import numpy as np
import pytest
from hypothesis import given, settings

from recurrent_iree import layers

KINDS = {
    "lstm": (layers.LSTM, {}, ref.lstm_step, 2),
    "lstm_hard": (
        layers.LSTM,
        {"recurrent_activation": "hard_sigmoid"},
        lambda w, x, s: ref.lstm_step(w, x, s, ref.hard_sigmoid),
        2,
    ),
    "gru": (layers.GRU, {}, ref.gru_step, 1),
    "gru_before": (layers.GRU, {"reset_after": False}, ref.gru_step, 1),
    "simple_rnn": (layers.SimpleRNN, {}, ref.simple_rnn_step, 1),
}


def random_weights(layer, rng):
    layer.set_weights([rng.normal(0, 0.7, w.shape) for w in layer.weights])
    return layer.get_weights()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_cell_equals_numpy_with_masks_states_and_resets(kind, backwards):
    make, options, step, count = KINDS[kind]
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        layer = make(4, return_sequences=True, return_state=True, go_backwards=backwards, **options)
        layer.build((None, None, 3))
        weights = random_weights(layer, rng)
        inputs = rng.normal(size=(3, 6, 3))
        states = [rng.normal(size=(3, 4)) for _ in range(count)]
        mask, reset = rng.random((3, 6)) < 0.6, rng.random((3, 6)) < 0.3
        for given_mask in (None, mask):
            for given_reset in (None, reset):
                got = layer(inputs, initial_state=states, mask=given_mask, reset=given_reset)
                want, want_states = ref.run(
                    step, weights, inputs, states, given_mask, backwards, given_reset
                )
                np.testing.assert_allclose(got[0], want, rtol=1e-6, atol=1e-6)
                for a, b in zip(got[1:], want_states, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": (2, 3), "strides": 2},
        {"kernel_size": 2, "dilation_rate": 2, "padding": "same"},
        {"kernel_size": 3, "padding": "same", "data_format": "channels_first"},
    ],
    ids=["same", "strided", "dilated", "channels_first"],
)
def test_conv_lstm_equals_numpy(options):
    rng = np.random.default_rng(4)
    images = rng.normal(size=(2, 3, 5, 6, 2)).astype(np.float32)
    mask = np.array([[1, 1, 0], [0, 1, 1]])
    layer = layers.ConvLSTM2D(3, return_sequences=True, return_state=True, **options)
    first = options.get("data_format") == "channels_first"
    inputs = np.moveaxis(images, -1, 2) if first else images
    layer.build((None, *inputs.shape[1:]))
    weights = random_weights(layer, rng)
    got = [np.asarray(array) for array in layer(inputs, mask=mask)]
    assert [a.shape for a in got] == layer.compute_output_shape(inputs.shape)
    if first:
        got = [np.moveaxis(got[0], 2, -1), *(np.moveaxis(array, 1, -1) for array in got[1:])]
    zeros = [np.zeros(state.shape) for state in got[1:]]

    def step(weights, x, states):
        stride, dilation = options.get("strides", 1), options.get("dilation_rate", 1)
        same = options.get("padding") == "same"
        return ref.conv_lstm_step(weights, x, states, stride, dilation, same)

    want, states = ref.run(step, weights, images, zeros, mask)
    for a, b in zip(got, [want, *states], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_bidirectional_equals_a_reference_per_row(data):
    """The backward direction of each row is the row cut to its valid steps, reversed."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=3, max_size=3), label="lengths")
    inputs = rng.normal(size=(3, 5, 3)).astype(np.float32)
    mask = np.arange(5) < np.array(lengths)[:, None]
    got = np.asarray(BIDIRECTIONAL(inputs, mask=mask))
    forward, backward = (layer.get_weights() for layer in BIDIRECTIONAL.layers)
    zeros = [np.zeros(4)]
    for row, length in enumerate(lengths):
        valid = inputs[row, :length]
        for start, weights, flip in ((0, forward, False), (4, backward, True)):
            part = got[row, :, start : start + 4]
            if length:
                want, _ = ref.run_row(ref.gru_step, weights, valid, zeros, backwards=flip)
                want = want[::-1] if flip else want
                np.testing.assert_allclose(part[:length], want, rtol=1e-4, atol=1e-5)
            tail = part[length - 1] if length and not flip else np.zeros(4)
            np.testing.assert_allclose(part[length:], np.broadcast_to(tail, (5 - length, 4)))


BIDIRECTIONAL = layers.Bidirectional(layers.GRU(4, return_sequences=True))
BIDIRECTIONAL.build((None, None, 3))
