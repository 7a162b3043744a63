"""`TimeDistributed`, `Dense`, `Flatten`, `Dropout`, `Activation`, and dropout in cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_time_distributed_applies_the_layer_to_each_step():
    layer = layers.TimeDistributed(layers.LSTM(4, return_state=True))
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 3)).astype(np.float32)
    outputs = layer(x)
    for t in range(6):
        for got, want in zip(outputs, layer.layer(x[:, t]), strict=True):
            close(got[:, t], want)
    assert layer.compute_output_shape((None, 6, 5, 3)) == [(None, 6, 4)] * 3


def test_time_distributed_config_and_symbols():
    layer = layers.TimeDistributed(layers.Dense(4, "relu"))
    assert layer(layers.Input((None, 3))).shape == (None, None, 4)
    assert layer.weight_names == ["time_distributed/dense/kernel", "time_distributed/dense/bias"]
    other = layers.TimeDistributed.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()


def test_time_distributed_errors():
    with pytest.raises(ArgumentTypeError, match="`layer` must be a Layer, got function"):
        layers.TimeDistributed(lambda x: x)
    with pytest.raises(ArgumentError, match="needs inputs of rank at least 3"):
        layers.TimeDistributed(layers.Dense(4))(X[:, 0])
    with pytest.raises(ArgumentError, match="calls a layer that is stateful or has an activity"):
        layers.TimeDistributed(layers.Dense(4, activity_regularizer="l2"))(X)


def test_dense():
    layer = layers.Dense(4, "relu", kernel_regularizer="l2")
    kernel, bias = (layer(X), layer.get_weights())[1]
    close(layer(X), np.maximum(X @ kernel + bias, 0))
    assert layer.compute_output_shape((None, 5, 3)) == (None, 5, 4)
    assert layers.Dense.from_config(layer.get_config()).get_config() == layer.get_config()
    assert len(layers.Dense(4, use_bias=False).apply(X).shape) == 3
    with pytest.raises(ArgumentError, match=r"was built for 3 features, got .*\(2, 5, 2\)"):
        layer(X[:, :, :2])
    with pytest.raises(ArgumentError, match="needs inputs of rank at least 2"):
        layers.Dense(4)(X[0, 0])


@pytest.mark.parametrize("make", [layers.Dense, layers.LSTM, layers.GRUCell, layers.SimpleRNN])
def test_units_must_be_positive(make):
    with pytest.raises(ArgumentError, match="`units` must be at least 1, got 0"):
        make(0)
    with pytest.raises(ArgumentTypeError, match="`units` must be a positive integer, got float"):
        make(2.5)


def test_activation():
    layer = layers.Activation("hard_sigmoid")
    close(layer(X), np.clip(0.2 * X + 0.5, 0, 1))
    assert layers.Activation.from_config(layer.get_config()).get_config() == layer.get_config()
    assert layer.compute_output_shape((None, 3)) == (None, 3)


def test_flatten():
    assert layers.Flatten()(X).shape == (2, 15)
    assert layers.Flatten().compute_output_shape((None, 5, 3)) == (None, 15)
    assert layers.Flatten().compute_output_shape((2, None, 3)) == (2, None)


def test_dropout():
    layer = layers.Dropout(0.5)
    close(layer(X), X)
    layers.set_seed(1)
    dropped = np.asarray(layer(X, training=True))
    assert 0 < (dropped == 0).sum() < X.size
    close(dropped[dropped != 0], 2 * X[dropped != 0])
    layers.set_seed(1)
    close(layer(X, training=True), dropped)
    with pytest.raises(ArgumentError, match="`rate` must be at least 0 and below 1, got 1"):
        layers.Dropout(1)


def test_dropout_takes_the_key_of_the_pure_call():
    model = layers.Sequential([layers.Dropout(0.5), layers.Dropout(0.5)])
    model.build(X.shape)

    @jax.jit
    def call(key):
        return model.stateless_call([], [], X, training=True, key=key)[0]

    a, b, c = call(jax.random.key(0)), call(jax.random.key(0)), call(jax.random.key(1))
    close(a, b)
    assert (a != c).any()
    once = (np.asarray(a) != 0).mean()
    assert 0.05 < once < 0.45
    with pytest.raises(ArgumentError, match="give `key=jax.random.key"):
        model.stateless_call([], [], X, training=True)


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_dropout_in_cells(make):
    layer = make(4, dropout=0.5, recurrent_dropout=0.5, return_sequences=True)
    layer.build(X.shape)
    weights = [variable.value for variable in layer.weights]
    plain = make(4, return_sequences=True)
    plain.build(X.shape)
    plain.set_weights(weights)
    close(layer(X), plain(X))

    @jax.jit
    def call(key):
        return layer.stateless_call(weights, [], X, training=True, key=key)[0]

    first, again, other = (call(jax.random.key(seed)) for seed in (0, 0, 1))
    close(first, again)
    assert jnp.abs(first - other).max() > 0
    assert layer(X, training=True).shape == (2, 5, 4)
    with pytest.raises(ArgumentError, match="`dropout` must be at least 0 and below 1"):
        make(4, dropout=1.5)


def test_conv_lstm_errors():
    with pytest.raises(ArgumentError, match="`padding` must be one of .*'full'"):
        layers.ConvLSTM2D(4, 3, padding="full")
    with pytest.raises(ArgumentError, match="`kernel_size` must be an integer or a pair"):
        layers.ConvLSTM2D(4, (1, 2, 3))
    with pytest.raises(ArgumentError, match="takes steps of rank 4"):
        layers.ConvLSTM2D(4, 3)(X)
    with pytest.raises(ArgumentError, match="does not fit into the image"):
        layers.ConvLSTM2D(4, 3)(np.ones((1, 2, 2, 2, 1), np.float32))


def test_a_cell_takes_vectors():
    with pytest.raises(ArgumentError, match=r"takes steps of shape \(batch, features\)"):
        layers.LSTM(4)(np.ones((1, 2, 3, 4), np.float32))
