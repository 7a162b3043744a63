"""layers.RNN: one test per property of the reference page."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import LayerAttributeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def called_twice():
    layer = layers.SimpleRNN(4, return_sequences=True)
    layer(layers.Input((5, 3)))
    layer(layers.Input((6, 3)))
    return layer


def test_activity_regularizer():
    assert layers.GRU(4).activity_regularizer is None
    layer = layers.LSTM(4, return_state=True, activity_regularizer=layers.l2(0.1))
    assert layer.activity_regularizer == layers.l2(0.1)
    outputs = layer(X)
    want = [0.1 * float(jnp.sum(output**2)) for output in outputs]
    close([float(loss) for loss in layer.losses], want)
    assert len(layer.losses) == 3


def test_dtype():
    layer = layers.RNN(layers.GRUCell(4))
    assert layer.dtype is None
    layer(X)
    assert layer.dtype == "float32" and layer.weights[0].dtype == "float32"
    half = layers.GRU(4, dtype="float16")
    assert half.dtype == "float16"
    assert half(X).dtype == jnp.float16


def test_dtype_is_that_of_the_first_input():
    with jax.enable_x64(True):
        layer = layers.LSTM(4)
        assert layer(X.astype(np.float64)).dtype == jnp.float64
        assert layer.dtype == "float64" and layer.weights[0].dtype == np.float64
    layer = layers.GRU(4)
    assert layer(jnp.asarray(X, jnp.bfloat16)).dtype == jnp.bfloat16


def test_input():
    layer = layers.SimpleRNN(4)
    with pytest.raises(LayerAttributeError, match="has never been called, so it has no input"):
        _ = layer.input
    x = layers.Input((None, 3))
    layer(x)
    assert layer.input is x
    with pytest.raises(LayerAttributeError, match="was called 2 times, so `input` is ambiguous"):
        _ = called_twice().input


def test_input_after_a_call_with_an_array():
    layer = layers.SimpleRNN(4)
    x = X.copy()
    layer(x)
    assert layer.input is x
    del x
    gc.collect()
    assert isinstance(layer.input, layers.SymbolicTensor) and layer.input.shape == X.shape


def test_input_mask():
    with pytest.raises(LayerAttributeError, match="has never been called"):
        _ = layers.SimpleRNN(4).input_mask
    tokens = layers.Input((None,), dtype="int32")
    embedded = layers.Embedding(9, 3, mask_zero=True)(tokens)
    layer = layers.SimpleRNN(4)
    layer(embedded)
    assert layer.input_mask is embedded.mask and embedded.mask.dtype == "bool"
    plain = layers.SimpleRNN(4)
    plain(X)
    assert plain.input_mask is None
    with pytest.raises(LayerAttributeError, match="`input_mask` is ambiguous"):
        _ = called_twice().input_mask


def test_input_shape():
    layer = layers.SimpleRNN(4)
    with pytest.raises(LayerAttributeError, match="has no input_shape"):
        _ = layer.input_shape
    layer(layers.Input((None, 3)))
    layer(layers.Input((None, 3)))
    assert layer.input_shape == (None, None, 3)
    with pytest.raises(LayerAttributeError, match="`input_shape` is ambiguous"):
        _ = called_twice().input_shape
    layer = layers.SimpleRNN(4)
    layer(layers.Input((None, 3)), initial_state=layers.Input((4,)))
    assert layer.input_shape == [(None, None, 3), (None, 4)]


def test_losses():
    layer = layers.RNN(layers.SimpleRNNCell(4, kernel_regularizer="l1"), activity_regularizer="l2")
    assert layer.losses == []
    y = layer(X)
    weight, activity = layer.losses
    close(weight, 0.01 * np.abs(layer.get_weights()[0]).sum())
    close(activity, 0.01 * jnp.sum(y**2))
    layer.trainable = False
    assert len(layer.losses) == 2


def test_losses_of_symbolic_calls_add_up():
    layer = layers.SimpleRNN(4, activity_regularizer="l2")
    x = layers.Input((None, 3))
    y = layer(x)
    layer(layers.Input((None, 3)))
    assert len(layer.losses) == 2 and layer.losses[0].shape == ()
    output, loss = layers.Model(x, [y, layer.losses[0]])(X)
    close(loss, 0.01 * jnp.sum(output**2))


def test_losses_do_not_grow_with_calls_on_arrays():
    layer = layers.SimpleRNN(4, activity_regularizer="l2")
    for _ in range(3):
        layer(X)
    assert len(layer.losses) == 1


def test_name():
    layers_ = [layers.RNN(layers.LSTMCell(2)) for _ in range(2)]
    names = [layer.name for layer in layers_]
    assert len(set(names)) == 2 and all(name.startswith("rnn") for name in names)
    assert layers.LSTM(2, name="encoder").name == "encoder"
    assert layers.SimpleRNNCell(2).name.startswith("simple_rnn_cell")


def test_non_trainable_variables():
    layer = layers.GRU(4)
    layer.build(X.shape)
    assert layer.non_trainable_variables == []
    layer.trainable = False
    assert layer.non_trainable_variables == layer.weights


def test_non_trainable_weights():
    layer = layers.GRU(4, trainable=False)
    assert layer.non_trainable_weights == []
    layer.build(X.shape)
    assert layer.non_trainable_weights == layer.weights and len(layer.weights) == 3
    layer.trainable = True
    assert layer.non_trainable_weights == []


def test_output():
    layer = layers.LSTM(4, return_state=True)
    with pytest.raises(LayerAttributeError, match="has never been called, so it has no output"):
        _ = layer.output
    outputs = layer(layers.Input((None, 3)))
    assert layer.output == outputs and len(outputs) == 3
    with pytest.raises(LayerAttributeError, match="`output` is ambiguous"):
        _ = called_twice().output
    layer = layers.LSTM(4)
    y = layer(X)
    assert layer.output is y


def test_output_mask():
    with pytest.raises(LayerAttributeError, match="has never been called"):
        _ = layers.SimpleRNN(4).output_mask
    embedded = layers.Embedding(9, 3, mask_zero=True)(layers.Input((None,), dtype="int32"))
    layer = layers.LSTM(4, return_sequences=True, return_state=True)
    layer(embedded)
    assert layer.output_mask == [embedded.mask, None, None]
    last = layers.LSTM(4)
    last(embedded)
    assert last.output_mask is None
    with pytest.raises(LayerAttributeError, match="`output_mask` is ambiguous"):
        _ = called_twice().output_mask


def test_output_shape():
    layer = layers.LSTM(4, return_sequences=True, return_state=True)
    with pytest.raises(LayerAttributeError, match="has no output_shape"):
        _ = layer.output_shape
    layer(layers.Input((None, 3), batch_size=2))
    assert layer.output_shape == [(2, None, 4), (2, 4), (2, 4)]
    with pytest.raises(LayerAttributeError, match="`output_shape` is ambiguous"):
        _ = called_twice().output_shape


def test_states():
    assert layers.LSTM(4).states == [None, None]
    layer = layers.LSTM(4, stateful=True)
    assert layer.states == [None, None]
    layer(X)
    assert [state.shape for state in layer.states] == [(2, 4), (2, 4)]
    _, h, c = layers.RNN(layer.cell, return_state=True)(X)
    close(layer.states, [h, c])
    assert len(layer.weights) == 3


def test_trainable_variables():
    layer = layers.GRU(4)
    layer.build(X.shape)
    assert layer.trainable_variables == layer.weights
    layer.trainable = False
    assert layer.trainable_variables == []


def test_trainable_weights():
    layer = layers.RNN([layers.GRUCell(4), layers.LSTMCell(2)])
    assert layer.trainable_weights == []
    layer.build(X.shape)
    assert layer.trainable_weights == layer.weights and len(layer.weights) == 6
    layer.cell.cells[0].trainable = False
    assert layer.trainable_weights == layer.weights[3:]
    assert layer.non_trainable_weights == layer.weights[:3]


def test_updates():
    assert layers.GRU(4).updates == []
    layer = layers.GRU(4, stateful=True)
    assert layer.updates == []
    layer(X)
    layer(X)
    (update,) = layer.updates
    close(update.values[0], layer.states[0])
    symbolic = layers.GRU(4, stateful=True)
    symbolic(layers.Input((5, 3), batch_size=2))
    (update,) = symbolic.updates
    assert update.values[0].shape == (2, 4)
    assert (symbolic.states[0] == 0).all()


def test_updates_happen_in_a_frozen_layer():
    layer = layers.GRU(4, stateful=True, trainable=False)
    layer(X)
    assert (layer.states[0] != 0).any()


def test_variables():
    layer = layers.LSTM(4)
    assert layer.variables == []
    layer.build(X.shape)
    assert layer.variables == layer.weights


def test_weights():
    layer = layers.LSTM(4)
    assert layer.weights == []
    layer.build(X.shape)
    assert [w.shape for w in layer.weights] == [(3, 16), (4, 16), (16,)]
    assert [w.name for w in layer.weights] == ["kernel", "recurrent_kernel", "bias"]
    assert layer.weight_names == ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"]


def test_weights_of_a_plain_cell():
    class Plain:
        state_size = 3

        def call(self, inputs, states):
            return inputs, states

    layer = layers.RNN(Plain())
    layer(X)
    assert layer.weights == [] and layer.count_params() == 0
