"""`Sequential` and `Model`."""

import jax
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError, LayerAttributeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_sequential_is_its_layers_one_after_the_other():
    model = layers.Sequential([layers.GRU(4, return_sequences=True), layers.LSTM(3)])
    assert not model.built
    close(model(X), model.layers[1](model.layers[0](X)))
    assert [w.shape for w in model.get_weights()][::3] == [(3, 12), (4, 12)]
    assert model.count_params() == sum(layer.count_params() for layer in model.layers)


def test_sequential_with_an_input_builds_itself():
    model = layers.Sequential([layers.Input((None, 3)), layers.GRU(4), layers.Dense(2)])
    assert model.built and len(model.weights) == 5
    assert model.output.shape == (None, 2) and model.layers[0].output.shape == (None, 4)
    model(X)
    assert model.input.shape == (None, None, 3)
    assert model.layers[0].input is model.input
    other = layers.Sequential.from_config(model.get_config())
    assert other.get_config() == model.get_config() and other.built


def test_sequential_names_its_weights_the_same_in_every_process():
    for _ in range(2):
        model = layers.Sequential([layers.GRU(4, return_sequences=True), layers.GRU(4)])
        model.build((None, None, 3))
        assert model.weight_names[::3] == ["sequential/gru/kernel", "sequential/gru_1/kernel"]
    named = layers.Sequential([layers.GRU(4, name="encoder")], name="net")
    named.build((None, None, 3))
    assert named.weight_names[0] == "net/encoder/kernel"


def test_sequential_stateful():
    model = layers.Sequential(
        [layers.GRU(4, return_sequences=True, stateful=True), layers.LSTM(3, stateful=True)]
    )
    first = model(X)
    assert len(model.states) == 3 and len(model.updates) == 2
    assert model.state_names == [
        "sequential/gru/state_0",
        "sequential/lstm/state_0",
        "sequential/lstm/state_1",
    ]
    second = model(X)
    assert np.abs(np.asarray(first) - second).max() > 1e-4
    model.reset_states()
    close(model(X), first)
    with pytest.raises(LayerAttributeError, match="no layer of .* is stateful"):
        layers.Sequential([layers.GRU(4)]).reset_states()


def test_sequential_losses():
    model = layers.Sequential(
        [layers.GRU(4, kernel_regularizer="l2"), layers.Dense(2, activity_regularizer="l1")]
    )
    y = model(X)
    weight, activity = model.losses
    close(activity, 0.01 * np.abs(y).sum())
    assert [float(v) for v in model.get_losses_for(None)] == [float(weight)]
    assert [float(v) for v in model.get_losses_for(X)] == [float(activity)]
    assert model.get_updates_for(X) == [] and model.get_updates_for(None) == []


def test_sequential_of_sequentials():
    inner = layers.Sequential([layers.Embedding(9, 3, mask_zero=True), layers.Dense(4)])
    model = layers.Sequential([inner, layers.LSTM(2)])
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = inner(tokens)
    close(model(tokens), model.layers[1](np.asarray(embedded), mask=tokens != 0))


def test_sequential_errors():
    model = layers.Sequential()
    with pytest.raises(ArgumentError, match="has no layers: add some before building"):
        model(X)
    with pytest.raises(ArgumentTypeError, match="`Sequential` takes layers, got function"):
        model.add(lambda x: x)
    model.add(layers.GRU(4))
    with pytest.raises(ArgumentTypeError, match="an `Input` can only come first"):
        model.add(layers.Input((3,)))
    assert model.get_layer(model.layers[0].name) is model.layers[0]
    with pytest.raises(LayerAttributeError, match="has no layer 'nobody': it has gru"):
        model.get_layer("nobody")


def test_summary(capsys):
    model = layers.Sequential([layers.GRU(4, name="one"), layers.Dense(2, name="two")])
    assert "not built" in model.summary()
    model(X)
    text = model.summary()
    assert text in capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "shape", "params"]
    assert lines[2].split("  ")[0] == "one" and lines[2].endswith("108")
    assert lines[-1] == "total params: 118"


def test_model_repeats_the_graph():
    x, other = layers.Input((None, 3)), layers.Input((None, 3))
    shared = layers.GRU(4, return_sequences=True, return_state=True)
    outputs, state = shared(x)
    again, _ = shared(other, initial_state=state)
    dense = layers.Dense(2)
    model = layers.Model({"a": x, "b": other}, {"y": dense(again), "s": state})
    got = model({"a": X, "b": X + 1})
    want, state = shared(X)
    want, _ = shared(X + 1, initial_state=state)
    close(got["y"], dense(want))
    close(got["s"], state)
    assert model.layers == [shared, dense] and len(model.weights) == 5
    weights = [variable.value for variable in model.weights]
    pure = jax.jit(lambda w, v: model.stateless_call(w, [], v)[0])
    close(pure(weights, {"a": X, "b": X + 1})["y"], got["y"])


def test_model_is_a_layer():
    x = layers.Input((None, 3))
    inner = layers.Model(x, layers.GRU(4, stateful=False, return_sequences=True)(x))
    outer = layers.Sequential([inner, layers.Dense(2)])
    assert outer(X).shape == (2, 5, 2)
    assert inner(layers.Input((7, 3))).shape == (None, 7, 4)
    assert inner.input is x and inner.output.shape == (None, None, 4)


def test_model_keeps_states():
    x = layers.Input((5, 3), batch_size=2)
    gru = layers.GRU(4, stateful=True)
    model = layers.Model(x, gru(x))
    first = model(X)
    close(model.states[0], gru.states[0])
    model(X)
    model.reset_states()
    close(model(X), first)


def test_model_losses():
    x = layers.Input((None, 3))
    gru = layers.GRU(4, activity_regularizer="l2")
    y = gru(x)
    model = layers.Model(x, [y, *gru.get_losses_for(x)])
    output, loss = model(X)
    close(loss, 0.01 * (np.asarray(output) ** 2).sum())
    close(model.losses[0], loss)
    assert len(model.get_losses_for(X)) == 1


def test_model_passes_training_on():
    x = layers.Input((3,))
    model = layers.Model(x, layers.Dropout(0.5)(x))
    close(model(X[:, 0]), X[:, 0])
    assert (np.asarray(model(np.ones((4, 3), np.float32), training=True)) != 1).all()


def test_model_errors():
    x, other = layers.Input((None, 3)), layers.Input((None, 3))
    y = layers.GRU(4)(x)
    with pytest.raises(ArgumentError, match="depends on .* which is not among `inputs`"):
        layers.Model(other, y)
    with pytest.raises(ArgumentTypeError, match="`outputs` of `Model` must be symbolic tensors"):
        layers.Model(x, X)
    with pytest.raises(ArgumentTypeError, match="`inputs` of `Model` holds no symbolic tensor"):
        layers.Model([], y)
    with pytest.raises(ArgumentError, match="takes 1 inputs, got 2"):
        layers.Model(x, y)([X, X])
    with pytest.raises(ArgumentTypeError, match="is a graph of calls and has no configuration"):
        layers.Model(x, y).get_config()
    stateful = layers.GRU(4, stateful=True)
    z = layers.Input((5, 3), batch_size=2)
    stateful(z)
    with pytest.raises(ArgumentError, match="cannot compute .*gru.*/state"):
        layers.Model(z, stateful.updates[0].values[0])


def test_input_errors():
    with pytest.raises(ArgumentError, match="needs one of `shape` and `batch_shape`"):
        layers.Input()
    with pytest.raises(ArgumentError, match="needs one of `shape` and `batch_shape`"):
        layers.Input((3,), batch_shape=(2, 3))
    with pytest.raises(ArgumentError, match="input shape of `Input` must not be negative"):
        layers.Input((-1, 3))
    tensor = layers.Input(batch_shape=(2, None, 3), dtype="int32", name="x")
    assert (tensor.shape, tensor.dtype, tensor.name) == ((2, None, 3), "int32", "x")
    assert tensor.ndim == 3 and repr(tensor) == "<SymbolicTensor 'x' int32[2, None, 3]>"
