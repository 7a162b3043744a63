"""Masks from `Embedding` and `Masking` to the loop of a recurrent layer."""

import gc

import jax
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree.layers._masks import _table, get_mask
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

TOKENS = np.array([[3, 1, 0, 2], [2, 0, 0, 0]])


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def model_and_explicit():
    model = layers.Sequential(
        [layers.Embedding(5, 3, mask_zero=True), layers.GRU(4, return_sequences=True)]
    )
    outputs = model(TOKENS)
    embedding, gru = model.layers
    rows = np.asarray(embedding.get_weights()[0])[TOKENS]
    return model, outputs, gru(rows, mask=TOKENS != 0)


def test_embedding_mask_reaches_the_loop_in_a_sequential():
    model, outputs, want = model_and_explicit()
    close(outputs, want)
    unmasked = model.layers[1](np.asarray(model.layers[0](TOKENS)))
    assert np.abs(np.asarray(unmasked) - want).max() > 1e-3


def test_embedding_mask_reaches_the_loop_between_arrays():
    model, _, want = model_and_explicit()
    close(model.layers[1](model.layers[0](TOKENS)), want)


def test_embedding_mask_reaches_the_loop_in_a_model():
    model, _, want = model_and_explicit()
    x = layers.Input((None,), dtype="int32")
    embedding, gru = model.layers
    y = gru(embedding(x))
    assert y.mask is gru.get_input_mask_at(len(gru._nodes()) - 1)
    close(layers.Model(x, y)(TOKENS), want)


def test_embedding_mask_reaches_the_loop_under_jit_and_grad():
    model, _, want = model_and_explicit()
    weights = [variable.value for variable in model.weights]
    got = jax.jit(lambda w, x: model.stateless_call(w, [], x)[0])(weights, TOKENS)
    close(got, want)
    gradient = jax.grad(lambda w: model.stateless_call(w, [], TOKENS)[0].sum())(weights)
    assert (gradient[0][0] == 0).all() and (gradient[0][4] == 0).all()
    assert (gradient[0][3] != 0).any()


def test_masking_reaches_the_loop():
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    x[0, 2] = x[1, 1:] = -1
    model = layers.Sequential([layers.Masking(-1.0), layers.LSTM(4)])
    close(model(x), model.layers[1](x, mask=TOKENS != 0))
    masked = model.layers[0](x)
    assert (masked[1, 1:] == 0).all() and get_mask(masked).tolist() == (TOKENS != 0).tolist()


def test_a_mask_passes_through_layers_that_support_it():
    model = layers.Sequential(
        [
            layers.Embedding(5, 3, mask_zero=True),
            layers.Dense(3),
            layers.Dropout(0.5),
            layers.Activation("linear"),
            layers.TimeDistributed(layers.Dense(3)),
            layers.Bidirectional(layers.GRU(4, return_sequences=True)),
            layers.LSTM(4),
        ]
    )
    outputs = model(TOKENS)
    changed = np.where(TOKENS == 0, 0, TOKENS)
    close(model(changed), outputs)
    last = model.layers[-1]
    before = np.ones((2, 4, 8), np.float32)
    assert np.abs(last(before, mask=TOKENS != 0) - last(before)).max() > 0


def test_an_explicit_mask_goes_to_the_first_layer():
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    model = layers.Sequential([layers.Dropout(0.5), layers.Activation("linear"), layers.LSTM(4)])
    mask = TOKENS != 0
    close(model(x, mask=mask), model.layers[2](x, mask=mask))
    assert get_mask(x) is None
    assert model.compute_mask(x, mask) is None
    assert layers.Sequential(model.layers[:2]).compute_mask(x, mask) is mask


def test_a_layer_without_masks_refuses_one():
    model = layers.Sequential([layers.Embedding(5, 3, mask_zero=True), layers.Flatten()])
    with pytest.raises(ArgumentTypeError, match=r"\(Flatten\) does not support masking"):
        model(TOKENS)


def test_masks_die_with_their_arrays():
    gc.collect()
    before = len(_table)
    y = layers.Embedding(5, 3, mask_zero=True)(TOKENS)
    assert len(_table) > before
    del y
    gc.collect()
    assert len(_table) <= before


def test_embedding():
    layer = layers.Embedding(5, 3)
    rows = layer(TOKENS)
    close(rows, layer.get_weights()[0][TOKENS])
    assert layer.dtype == "float32" and layer.compute_mask(TOKENS) is None
    assert layer.compute_output_shape((None, 4)) == (None, 4, 3)
    assert layer(TOKENS.astype(np.float32)).shape == (2, 4, 3)
    other = layers.Embedding.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()
    assert layers.Sequential([layers.Embedding(5, 3, input_length=4)]).input.dtype == "int32"


@pytest.mark.parametrize("tokens", [[[5]], [[-1, 2]]])
def test_embedding_refuses_integers_outside(tokens):
    with pytest.raises(ArgumentError, match="`input_dim` is 5: expected 0 to 4"):
        layers.Embedding(5, 3)(np.array(tokens))


def test_embedding_clips_integers_inside_jit():
    layer = layers.Embedding(5, 3)
    layer.build((2, 2))
    weights = [variable.value for variable in layer.weights]
    rows = jax.jit(lambda w, x: layer.stateless_call(w, [], x)[0])(weights, np.array([[-7, 99]]))
    close(rows[0], layer.get_weights()[0][[0, 4]])


def test_masks_leak_no_tracers():
    model = layers.Sequential([layers.Embedding(5, 3, mask_zero=True), layers.GRU(4)])
    model.build((2, 4))
    weights = [variable.value for variable in model.weights]
    with jax.checking_leaks():
        jax.jit(lambda w, x: model.stateless_call(w, [], x)[0])(weights, TOKENS)
        jax.grad(lambda w: model.stateless_call(w, [], TOKENS)[0].sum())(weights)


def test_masking_config():
    layer = layers.Masking(2.5)
    assert layers.Masking.from_config(layer.get_config()).mask_value == 2.5
    assert layer.compute_output_shape((None, 4, 3)) == (None, 4, 3)


def test_a_mask_of_another_length_is_refused():
    x = np.zeros((2, 4, 3), np.float32)
    with pytest.raises(ArgumentError, match=r"`mask` has shape \(2, 3\), expected .*\(2, 4\)"):
        layers.LSTM(4)(x, mask=np.ones((2, 3)))
