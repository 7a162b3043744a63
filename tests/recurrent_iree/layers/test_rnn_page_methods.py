"""layers.RNN: one test per method of the reference page."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import (
    ArgumentError,
    ArgumentTypeError,
    LayerAttributeError,
    LayerRuntimeError,
)

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Custom(layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.state_size))

    def call(self, inputs, states, constants=None):
        output = inputs @ self.kernel + states[0] + (0 if constants is None else constants[0])
        return output, [output]

    def get_config(self):
        return {**super().get_config(), "units": self.state_size}


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def twice(method):
    """The method of a layer that was called with 5 and with 6 steps, and the tensors."""
    layer = layers.SimpleRNN(4, return_sequences=True)
    with pytest.raises(LayerRuntimeError, match="has never been called"):
        getattr(layer, method)(0)
    inputs = [layers.Input((5, 3)), layers.Input((6, 3))]
    outputs = [layer(x) for x in inputs]
    with pytest.raises(ArgumentError, match="`node_index` is 2, but layer .* has 2 recorded calls"):
        getattr(layer, method)(2)
    return getattr(layer, method), inputs, outputs


def test___call__():
    layer = layers.LSTM(4)
    assert layer(X).shape == (2, 4)
    assert layer(inputs=X, initial_state=[np.zeros((2, 4))] * 2, constants=None).shape == (2, 4)
    assert layer(X.tolist()).shape == (2, 4)


def test_apply():
    layer = layers.LSTM(4)
    close(layer.apply(X), layer(X))
    start = [np.ones((2, 4), np.float32)] * 2
    close(layer.apply(X, start), layer(X, initial_state=start))
    mask = np.array([[1, 0, 1, 0, 1]] * 2)
    close(layer.apply(X, mask=mask), layer(X, mask=mask))


def test_build():
    layer = layers.LSTM(4)
    layer.build((None, None, 3))
    assert layer.built and [w.shape for w in layer.weights] == [(3, 16), (4, 16), (16,)]
    kernel = layer.get_weights()[0]
    layer(X)
    close(layer.get_weights()[0], kernel)
    with pytest.raises(ArgumentError, match=r"rank at least 3 .*got shape \(None, 3\)"):
        layers.LSTM(4).build((None, 3))
    with pytest.raises(ArgumentError, match="weight `kernel` .* needs known sizes"):
        layers.LSTM(4).build((2, 5, None))


def test_compute_mask():
    mask = np.array([[True, False]])
    assert layers.LSTM(4).compute_mask(None, mask) is None
    assert layers.LSTM(4, return_sequences=True).compute_mask(None, mask) is mask
    assert layers.LSTM(4, return_sequences=True).compute_mask(None, [mask, None, None]) is mask
    assert layers.LSTM(4, return_state=True).compute_mask(None, mask) == [None] * 3
    both = layers.GRU(4, return_sequences=True, return_state=True, go_backwards=True)
    assert both.compute_mask(None, mask) == [mask, None]


def test_compute_output_shape():
    shape = (2, 5, 3)
    assert layers.LSTM(4).compute_output_shape(shape) == (2, 4)
    assert layers.LSTM(4, return_sequences=True).compute_output_shape(shape) == (2, 5, 4)
    both = layers.LSTM(4, return_sequences=True, return_state=True)
    assert both.compute_output_shape((None, None, 3)) == [(None, None, 4), (None, 4), (None, 4)]
    assert both.compute_output_shape([shape, (2, 4), (2, 4)])[0] == (2, 5, 4)
    assert not both.built


def test_count_params():
    layer = layers.LSTM(4)
    with pytest.raises(ArgumentError, match="is not built, so its weights are not defined"):
        layer.count_params()
    layer.build((None, None, 3))
    assert layer.count_params() == 3 * 16 + 4 * 16 + 16
    stateful = layers.LSTM(4, stateful=True)
    stateful.build((2, 5, 3))
    assert stateful.count_params() == layer.count_params()


def test_from_config():
    config = layers.RNN(Custom(4), return_sequences=True, name="mine").get_config()
    before = repr(config)
    with pytest.raises(ArgumentError, match="unknown class 'Custom'.*custom_objects="):
        layers.RNN.from_config(config)
    layer = layers.RNN.from_config(config, custom_objects={"Custom": Custom})
    assert repr(config) == before
    assert layer.get_config() == config and layer.name == "mine"
    assert isinstance(layer.cell, Custom) and layer.cell.state_size == 4
    with pytest.raises(ArgumentTypeError, match='dictionary with "class_name" and "config"'):
        layers.RNN.from_config({**config, "cell": "GRUCell"})


def test_from_config_of_a_stack():
    layer = layers.RNN([Custom(4), layers.LSTMCell(2)], unroll=True)
    other = layers.RNN.from_config(layer.get_config(), {"Custom": Custom})
    assert other.get_config() == layer.get_config()
    assert [type(cell) for cell in other.cell.cells] == [Custom, layers.LSTMCell]


def test_get_config():
    config = layers.RNN(layers.GRUCell(4), go_backwards=True, trainable=False).get_config()
    assert config["go_backwards"] is True and config["return_state"] is False
    assert config["trainable"] is False and config["dtype"] is None
    assert config["cell"]["class_name"] == "GRUCell"
    assert config["cell"]["config"]["units"] == 4
    assert "num_constants" not in config and "batch_input_shape" not in config


def test_get_config_after_constants():
    layer = layers.RNN(Custom(4))
    layer(X, constants=np.ones((2, 4), np.float32))
    config = layer.get_config()
    assert config["num_constants"] == 1
    other = layers.RNN.from_config(config, {"Custom": Custom})
    assert other._num_constants == 1 and other.get_config() == config


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(
            4,
            recurrent_activation="hard_sigmoid",
            kernel_regularizer=layers.L1L2(0.1, 0.2),
            kernel_initializer=layers.get_initializer("he_normal"),
            recurrent_dropout=0.25,
            activity_regularizer="l2",
            zero_output_for_mask=True,
        ),
        layers.GRU(4, reset_after=False, stateful=True, batch_input_shape=(2, 5, 3)),
        layers.SimpleRNN(4, activation="relu", use_bias=False, unroll=3, time_major=True),
        layers.ConvLSTM2D(4, (3, 2), padding="same", dilation_rate=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_get_config_of_siblings(layer):

    config = layer.get_config()
    other = type(layer).from_config(config)
    again = other.get_config()
    assert again == config
    assert json.loads(json.dumps(config))["name"] == layer.name


def test_get_initial_state():
    layer = layers.RNN([layers.LSTMCell(2), layers.GRUCell(4)])
    states = layer.get_initial_state(X)
    assert isinstance(states, list)
    assert [state.shape for state in states] == [(2, 2), (2, 2), (2, 4)]
    assert all(state.dtype == X.dtype and (state == 0).all() for state in states)


def test_get_input_at():
    method, inputs, _ = twice("get_input_at")
    assert method(0) is inputs[0] and method(1) is inputs[1]


def test_get_output_at():
    method, _, outputs = twice("get_output_at")
    assert method(0) is outputs[0] and method(1) is outputs[1]


def test_get_input_shape_at():
    method, _, _ = twice("get_input_shape_at")
    assert method(0) == (None, 5, 3) and method(1) == (None, 6, 3)


def test_get_output_shape_at():
    method, _, _ = twice("get_output_shape_at")
    assert method(0) == (None, 5, 4) and method(1) == (None, 6, 4)


def test_get_input_mask_at():
    method, _, _ = twice("get_input_mask_at")
    assert method(0) is None
    layer = layers.SimpleRNN(4)
    layer(X)
    mask = np.ones((2, 5), bool)
    layer(X, mask=mask)
    assert layer.get_input_mask_at(0) is None
    assert layer.get_input_mask_at(1) is mask


def test_get_output_mask_at():
    method, _, _ = twice("get_output_mask_at")
    assert method(1) is None
    embedded = layers.Embedding(9, 3, mask_zero=True)(layers.Input((None,), dtype="int32"))
    layer = layers.SimpleRNN(4, return_sequences=True)
    layer(layers.Input((None, 3)))
    layer(embedded)
    assert layer.get_output_mask_at(0) is None
    assert layer.get_output_mask_at(1) is embedded.mask


def test_get_losses_for():
    layer = layers.SimpleRNN(4, kernel_regularizer="l2", activity_regularizer="l1")
    first, second = layers.Input((None, 3)), layers.Input((None, 3))
    layer(first)
    layer(second)
    assert len(layer.get_losses_for(first)) == 1
    assert len(layer.get_losses_for([first, second])) == 2
    assert layer.get_losses_for(layers.Input((None, 3))) == []
    (unconditional,) = layer.get_losses_for(None)
    close(unconditional, 0.01 * (layer.get_weights()[0] ** 2).sum())
    y = layer(X)
    close(layer.get_losses_for(X)[0], 0.01 * jnp.abs(y).sum())


def test_get_updates_for():
    layer = layers.GRU(4, stateful=True)
    x = layers.Input((5, 3), batch_size=2)
    layer(x)
    assert layer.get_updates_for(x) == layer.updates and len(layer.updates) == 1
    assert layer.get_updates_for(None) == []
    assert layer.get_updates_for(X) == []
    layer(X)
    assert len(layer.get_updates_for(X)) == 1
    assert layers.GRU(4).get_updates_for(x) == []


def test_get_weights():
    layer = layers.GRU(4)
    assert layer.get_weights() == []
    layer.build(X.shape)
    weights = layer.get_weights()
    assert all(isinstance(weight, np.ndarray) for weight in weights)
    weights[0][:] = 0
    assert (layer.get_weights()[0] != 0).any()


def test_reset_states():
    layer = layers.LSTM(4, stateful=True)
    with pytest.raises(LayerAttributeError, match="has no states before it is built"):
        layer.reset_states()
    first = layer(X)
    layer.reset_states()
    assert all((state == 0).all() for state in layer.states)
    close(layer(X), first)
    values = [np.full((2, 4), 2, np.float32), np.full((2, 4), 3, np.float32)]
    layer.reset_states(states=values)
    close(layer.states, values)
    close(layer(X), layers.RNN(layer.cell)(X, initial_state=values))


def test_reset_states_errors():
    with pytest.raises(LayerAttributeError, match="must be stateful"):
        layers.LSTM(4).reset_states()
    layer = layers.GRU(4, stateful=True)
    layer(X)
    state = layer.states[0]
    with pytest.raises(ArgumentError, match="expects 1 states, but `reset_states` received 2"):
        layer.reset_states([np.zeros((2, 4))] * 2)
    with pytest.raises(ArgumentError, match=r"state 0 is incompatible .*\(2, 4\), got \(2, 5\)"):
        layer.reset_states(np.zeros((2, 5)))
    close(layer.states[0], state)
    layer.reset_states(np.ones((2, 4)))
    assert (layer.states[0] == 1).all()


def test_set_weights():
    layer = layers.GRU(4)
    layer.build(X.shape)
    weights = [weight + 1 for weight in layer.get_weights()]
    layer.set_weights(weights)
    for got, want in zip(layer.get_weights(), weights, strict=True):
        close(got, want)
    with pytest.raises(ArgumentError, match="got 1 arrays, but layer .* has 3 weights: gru/kernel"):
        layer.set_weights(weights[:1])
    with pytest.raises(ArgumentError, match=r"weight `gru/kernel` has shape \(3, 12\).*\(4, 12\)"):
        layer.set_weights([weights[1], weights[1], weights[2]])
    with pytest.raises(ArgumentError, match="has 0 weights: it is not built"):
        layers.GRU(4).set_weights(weights)
