"""The base class: custom layers, variables, attributes, programs on arrays."""

import copy
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree.layers import _program
from recurrent_iree.layers._names import reset_names
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError, LayerRuntimeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


class Affine(layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], 2), regularizer="l2")
        self.count = self.add_weight("count", (), initializer="zeros", trainable=False)

    def call(self, inputs, scale=1.0, training=None):
        return scale * jnp.dot(inputs, self.kernel)


class Nested(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.parts = {"rnn": layers.GRU(4), "more": [Affine(), Affine()]}

    def call(self, inputs):
        x = self.parts["rnn"](inputs)
        return self.parts["more"][0](x) + self.parts["more"][1](x)


def test_a_custom_layer():
    layer = Affine()
    close(layer(X), X @ layer.get_weights()[0])
    close(layer(X, 2.0), 2 * layer(X))
    close(layer(X, scale=2.0, training=True), 2 * layer(X))
    assert layer.compute_output_shape((None, None, 3)) == (None, None, 2)
    assert layer(layers.Input((7, 3))).shape == (None, 7, 2)
    assert [v.name for v in layer.trainable_weights] == ["kernel"]
    assert [v.name for v in layer.non_trainable_weights] == ["count"]
    with pytest.raises(ArgumentTypeError, match="Affine.call takes 2 arguments after the inputs"):
        layer(X, 1.0, False, None)


def test_layers_inside_a_layer():
    layer = Nested()
    layer.build((None, None, 3))
    assert layer.weight_names == [
        "nested/gru/kernel", "nested/gru/recurrent_kernel", "nested/gru/bias",
        "nested/affine/kernel", "nested/affine/count",
        "nested/affine_1/kernel", "nested/affine_1/count",
    ]  # fmt: skip
    assert layer(X).shape == (2, 2) and len(layer.losses) == 2
    assert len(layer._nodes()) == 1 and layer.parts["rnn"]._nodes() == []


def test_a_layer_that_fails_to_build_stays_unbuilt():
    class Broken(Nested):
        def call(self, inputs):
            raise RuntimeError("no")

    layer = Broken()
    with pytest.raises(RuntimeError, match="no"):
        layer.build((None, None, 3))
    assert not layer.built


def test_attributes_read_as_arrays():
    layer = Affine()
    layer.build((None, 3))
    assert isinstance(layer.kernel, jax.Array)
    layer.kernel = np.ones((3, 2))
    assert (layer.get_weights()[0] == 1).all()
    with pytest.raises(ArgumentError, match=r"`kernel` has shape \(3, 2\), got .*\(2, 2\)"):
        layer.kernel = np.ones((2, 2))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = layer.nothing


def test_variable():
    variable = layers.Variable(np.zeros((2, 3), np.float32), name="v")
    assert (variable.shape, variable.dtype.name) == ((2, 3), "float32")
    assert repr(variable) == "<Variable 'v' float32[2, 3]>"
    variable.assign(np.ones((2, 3), np.float64))
    assert np.asarray(variable).sum() == 6 and variable.dtype == np.float32
    assert (jnp.ones((4, 2)) @ variable).shape == (4, 3)
    copy = variable.numpy()
    copy[:] = 5
    assert variable.numpy().max() == 1


def test_add_weight_errors():
    layer = layers.Layer()
    with pytest.raises(ArgumentError, match="weight `w` of layer .* needs known sizes"):
        layer.add_weight("w", (None, 3))
    with pytest.raises(ArgumentError, match="unknown initializer 'hope'"):
        layer.add_weight("w", (2, 3), initializer="hope")


def test_weights_given_to_the_constructor():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    embedding = layers.Embedding(3, 2, weights=[table])
    np.testing.assert_array_equal(embedding(np.array([[2, 0]]))[0], table[[2, 0]])
    shapes = [(3, 12), (4, 12), (2, 12)]
    given = [np.full(shape, 0.5, np.float32) for shape in shapes]
    layer = layers.GRU(4, weights=given)
    layer.build((None, None, 3))
    layer(np.ones((2, 5, 3), np.float32))
    stack = layers.RNN([layers.GRUCell(4, weights=given)])
    stack.build((None, None, 3))
    for one, other, want in zip(layer.get_weights(), stack.get_weights(), given, strict=True):
        np.testing.assert_array_equal(one, want)
        np.testing.assert_array_equal(other, want)
    with pytest.raises(ArgumentError, match="`set_weights` got 1 arrays, but layer .* has 3"):
        layers.GRU(4, weights=given[:1])(np.ones((2, 5, 3), np.float32))


def test_names_are_unique_and_in_snake_case():
    reset_names()
    assert [layers.LSTM(2).name for _ in range(3)] == ["lstm", "lstm_1", "lstm_2"]
    assert layers.RNN(layers.GRUCell(2)).name == "rnn"
    assert layers.StackedRNNCells([layers.GRUCell(2)]).name == "stacked_rnn_cells"


def test_dtype_given_casts_floating_inputs():
    layer = Affine(dtype="bfloat16")
    assert layer(X).dtype == jnp.bfloat16 and layer.get_config()["dtype"] == "bfloat16"
    assert Affine()(X.astype(np.int32)).dtype == jnp.float32


def test_calls_beyond_the_recorded_ones_still_work():
    layer = Affine()
    x = X[0]
    for _ in range(300):
        layer(x)
    assert len(layer._nodes()) == 256
    layer(layers.Input((3,)))
    assert layer.get_output_shape_at(256) == (None, 2)


class Scaled:
    """A plain cell with settings that a user may change between calls."""

    state_size = 3

    def __init__(self):
        self.scale = 2.0
        self.shift = jnp.zeros(3)
        self.table = {"on": True}
        self.function = jnp.tanh

    def call(self, inputs, states):
        y = self.function(self.scale * inputs + self.shift) * self.table["on"]
        return y, [y]


def test_a_changed_cell_is_seen_by_the_next_call():
    cell = Scaled()
    layer = layers.RNN(cell)
    x = X[:, -1]
    close(layer(X), np.tanh(2 * x))
    cell.scale = 3.0
    close(layer(X), np.tanh(3 * x))
    cell.shift = jnp.ones(3)
    close(layer(X), np.tanh(3 * x + 1))
    cell.function = jnp.sin
    close(layer(X), np.sin(3 * x + 1))
    cell.table["on"] = False
    assert (layer(X) == 0).all()


def test_functions_of_a_cell_are_seen_through():
    class Gain:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return self.factor * x

        method = __call__

    cell = Scaled()
    layer = layers.RNN(cell)
    x = 2 * X[:, -1]
    gain = Gain(2.0)
    for function in (gain, gain.method, partial(jnp.multiply, 2.0)):
        cell.function = function
        close(layer(X), 2 * x)
    cell.function = partial(jnp.multiply, 3.0)
    close(layer(X), 3 * x)
    for function in (gain, gain.method):
        cell.function = function
        gain.factor = 4.0
        close(layer(X), 4 * x)
        gain.factor = 5.0
        close(layer(X), 5 * x)


def test_a_cell_with_arrays_that_change_in_place():
    cell = Scaled()
    cell.shift = np.zeros(3, np.float32)
    layer = layers.RNN(cell)
    close(layer(X), np.tanh(2 * X[:, -1]))
    cell.shift += 1
    close(layer(X), np.tanh(2 * X[:, -1] + 1))


def test_a_changed_flag_is_seen_by_the_next_call():
    layer = layers.GRU(4)
    last = layer(X)
    layer.return_sequences = True
    close(layer(X)[:, -1], last)
    layer.go_backwards = True
    assert np.abs(np.asarray(layer(X))[:, -1] - last).max() > 1e-4
    layer.cell.activation = layers.get_activation("linear")
    assert np.isfinite(layer(X)).all()


def test_repeated_calls_on_arrays_compile_once(monkeypatch):
    monkeypatch.setattr(_program, "MAX_PROGRAMS", 3)
    traces = []

    class Counting(Scaled):
        def call(self, inputs, states):
            traces.append(1)
            return super().call(inputs, states)

    layer = layers.RNN(Counting())
    layer(X)
    count = len(traces)
    for _ in range(3):
        layer(X + 1)
    assert len(traces) == count
    for scale in range(5):
        layer.cell.scale = float(scale)
        layer(X)
    assert len(layer._programs) <= 3


def test_a_stateful_layer_inside_a_cell_is_refused():
    class Inner(layers.Layer):
        state_size = 3

        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, activity_regularizer="l2")

        def call(self, inputs, states):
            return self.dense(inputs), states

    with pytest.raises(ArgumentError, match="cell `.*` calls a layer that is stateful"):
        layers.RNN(Inner())(X)


def test_a_cell_may_call_layers():
    class Inner(layers.Layer):
        state_size = 4

        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(4, "tanh")

        def call(self, inputs, states):
            h = self.dense(jnp.concatenate([inputs, states[0]], 1))
            return h, [h]

    layer = layers.RNN(Inner())
    y = layer(X)
    assert y.shape == (2, 4) and len(layer.weights) == 2
    weights = [variable.value for variable in layer.weights]
    gradient = jax.grad(lambda w: layer.stateless_call(w, [], X)[0].sum())(weights)
    assert (gradient[0] != 0).any()


def test_a_copy_has_weights_and_states_of_its_own():
    layer = layers.LSTM(4, stateful=True, kernel_regularizer="l2")
    y = layer(X)
    other = copy.deepcopy(layer)
    layer.set_weights([0 * weight for weight in layer.get_weights()])
    layer.reset_states()
    assert other._nodes() == [] and (other.states[0] != 0).any()
    other.reset_states()
    close(other(X), y)


def test_inputs_that_are_no_arrays():
    with pytest.raises(ArgumentTypeError, match="`inputs` is not an array: got"):
        Affine()("words")
    with pytest.raises(ArgumentTypeError, match="has no values yet"):
        layers.GRU(4).get_initial_state(layers.Input((None, 3)))
    with pytest.raises(ArgumentTypeError, match="has no values yet"):
        np.asarray(layers.Input((3,)))


def test_no_calls_yet():
    layer = layers.GRU(4)
    with pytest.raises(LayerRuntimeError, match="has never been called"):
        layer.get_input_at(0)
