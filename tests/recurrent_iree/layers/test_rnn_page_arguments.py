"""layers.RNN: one test per argument and per section of the reference page."""

import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Leaky:
    """A plain object as a cell: the state and the output are ``s + x``."""

    state_size = 3

    def call(self, inputs, states):
        return inputs + states[0], [inputs + states[0]]


class MinimalRNNCell(layers.Layer):
    """The cell of the page, which sets attributes before it calls its base class."""

    def __init__(self, units, **kwargs):
        self.units = units
        self.state_size = units
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), initializer="uniform", name="recurrent_kernel"
        )
        self.built = True

    def call(self, inputs, states):
        output = jnp.dot(inputs, self.kernel) + jnp.dot(states[0], self.recurrent_kernel)
        return output, [output]


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test___init__():
    layer = layers.RNN(Leaky())
    flags = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
    assert [getattr(layer, flag) for flag in flags] == [False] * 5
    with pytest.raises(ArgumentTypeError, match="does not know the keyword argument 'colour'"):
        layers.RNN(Leaky(), colour="red")


def test_the_example_of_the_page():
    layer = layers.RNN(MinimalRNNCell(32))
    assert layer(layers.Input((None, 5))).shape == (None, 32)
    stacked = layers.RNN([MinimalRNNCell(32), MinimalRNNCell(64)])
    assert stacked(layers.Input((None, 5))).shape == (None, 64)
    assert [w.shape for w in stacked.weights] == [(5, 32), (32, 32), (32, 64), (64, 64)]


def test_cell():
    close(layers.RNN(Leaky())(X), X.sum(1))
    with pytest.raises(ArgumentError, match=r"`cell` \(object\) has no `call` method"):
        layers.RNN(object())
    without_size = type("NoSize", (), {"call": lambda self, x, s: (x, s)})
    with pytest.raises(ArgumentError, match=r"`cell` \(NoSize\) has no `state_size`"):
        layers.RNN(without_size())


@pytest.mark.parametrize("size", [2.5, "3", [2, 0.5], True])
def test_cell_state_size_must_be_sizes(size):
    cell = Leaky()
    cell.state_size = size
    with pytest.raises(ArgumentTypeError, match=r"`cell.state_size` must be an integer"):
        layers.RNN(cell)


def test_cell_state_size_must_not_be_negative():
    cell = Leaky()
    cell.state_size = -3
    with pytest.raises(ArgumentError, match=r"`cell.state_size` must not be negative, got -3"):
        layers.RNN(cell)


def test_cell_state_size_nested():
    class Nested:
        state_size = [2, (3, 4), {"a": 5, "b": [6]}]
        output_size = 1

        def call(self, inputs, states):
            one, image, tree = states
            assert image.shape == (2, 3, 4) and tree["b"][0].shape == (2, 6)
            return inputs[:, :1], [one + 1, image + 2, {"a": tree["a"] + 3, "b": [tree["b"][0]]}]

    layer = layers.RNN(Nested(), return_state=True)
    output, *states = layer(X)
    assert output.shape == (2, 1)
    assert [state.shape for state in states] == [(2, 2), (2, 3, 4), (2, 5), (2, 6)]
    assert [float(state.max()) for state in states] == [5, 10, 15, 0]
    assert layer.compute_output_shape((2, 5, 3))[1:] == [s.shape for s in states]


def test_cell_state_size_as_a_dictionary():
    class Named:
        state_size = {"count": 1, "total": 3}
        output_size = 3

        def call(self, inputs, states):
            total = states["total"] + inputs
            return total, {"count": states["count"] + 1, "total": total}

    output, count, total = layers.RNN(Named(), return_state=True)(X)
    close(total, X.sum(1))
    assert count.tolist() == [[5.0], [5.0]]


def test_cell_output_size():
    class Wide(Leaky):
        output_size = 6

        def call(self, inputs, states):
            return jnp.concatenate([inputs, inputs], 1), [states[0]]

    layer = layers.RNN(Wide(), return_sequences=True)
    assert layer(X).shape == (2, 5, 6) == layer.compute_output_shape((2, 5, 3))


def test_cell_output_size_defaults_to_the_first_state():
    assert layers.RNN(Leaky()).compute_output_shape((None, None, 3)) == (None, 3)


def test_cell_get_initial_state():
    class Started(Leaky):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return jnp.full((inputs.shape[0], 3), 7.0, inputs.dtype)

    layer = layers.RNN(Started())
    close(layer(X), X.sum(1) + 7)
    assert layer.get_initial_state(X)[0].tolist() == [[7.0] * 3] * 2


def test_cell_list_is_stacked():
    layer = layers.RNN([layers.LSTMCell(2), layers.GRUCell(4)], return_state=True)
    output, h1, c1, h2 = layer(X)
    assert isinstance(layer.cell, layers.StackedRNNCells)
    assert [a.shape for a in (output, h1, c1, h2)] == [(2, 4), (2, 2), (2, 2), (2, 4)]
    close(output, h2)


def test_return_sequences():
    sums = np.cumsum(X, 1)
    close(layers.RNN(Leaky(), return_sequences=True)(X), sums)
    close(layers.RNN(Leaky())(X), sums[:, -1])


def test_return_state():
    result = layers.RNN(Leaky(), return_state=True)(X)
    assert isinstance(result, list) and len(result) == 2
    close(result[1], X.sum(1))


def test_go_backwards():
    layer = layers.RNN(Leaky(), go_backwards=True, return_sequences=True)
    close(layer(X), np.cumsum(X[:, ::-1], 1))


def test_stateful():
    layer = layers.RNN(Leaky(), stateful=True)
    close(layer(X), X.sum(1))
    close(layer(X), 2 * X.sum(1))


def test_stateful_needs_a_batch_size():
    layer = layers.RNN(Leaky(), stateful=True)
    with pytest.raises(ArgumentError, match="is stateful and needs a fixed batch size"):
        layer(layers.Input((None, 3)))
    with pytest.raises(ArgumentError, match="is stateful and needs a fixed batch size"):
        layer.build((None, 5, 3))


def test_stateful_starts_from_the_state_of_the_cell():
    class Started(Leaky):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return jnp.full((batch_size, 3), 7.0, dtype)

    layer = layers.RNN(Started(), stateful=True)
    close(layer(X), X.sum(1) + 7)
    layer.reset_states()
    close(layer(X), X.sum(1))


@pytest.mark.parametrize("unroll", [True, 2])
def test_unroll(unroll):
    layer = layers.GRU(4, return_sequences=True)
    other = layers.GRU(4, return_sequences=True, unroll=unroll)
    layer.build(X.shape)
    other.build(X.shape)
    other.set_weights(layer.get_weights())
    close(other(X), layer(X))
    assert other(X[:, :1]).shape == (2, 1, 4)


def test_unroll_needs_a_number_of_steps():
    layer = layers.RNN(Leaky(), unroll=True)
    with pytest.raises(ArgumentError, match="unrolling requires a fixed number of timesteps"):
        layer(layers.Input((None, 3)))
    assert layer(layers.Input((4, 3))).shape == (None, 3)


def test_input_dim_and_input_length():
    layer = layers.RNN(Leaky(), input_dim=3, input_length=5)
    assert layer.get_config()["batch_input_shape"] == (None, 5, 3)
    assert layers.RNN(Leaky(), input_dim=3).get_config()["batch_input_shape"] == (None, None, 3)
    image = layers.RNN(Leaky(), input_dim=(4, 3), input_length=5)
    assert image.get_config()["batch_input_shape"] == (None, 5, 4, 3)
    model = layers.Sequential([layer])
    assert model.input.shape == (None, 5, 3) and model.built


def test_flatten_then_dense_upstream():
    recurrent = layers.RNN(Leaky(), return_sequences=True, input_dim=3, input_length=5)
    model = layers.Sequential([recurrent, layers.Flatten(), layers.Dense(2)])
    assert [w.shape for w in model.weights] == [(15, 2), (2,)]
    assert model(X).shape == (2, 2)


def test_negative_sizes_are_refused():
    for options in ({"input_dim": -3}, {"input_length": -5}, {"batch_input_shape": (2, -1, 3)}):
        with pytest.raises(ArgumentError, match="input shape of layer .* must not be negative"):
            layers.RNN(Leaky(), **options)
    with pytest.raises(ArgumentTypeError, match="must hold integers and None, got .*'many'"):
        layers.RNN(Leaky(), input_shape=("many", 3))


def test_input_shape_argument():
    assert layers.RNN(Leaky(), input_shape=(5, 3))._batch_input_shape == (None, 5, 3)
    layer = layers.RNN(Leaky(), batch_input_shape=(2, 5, 3))
    assert layer.get_config()["batch_input_shape"] == (2, 5, 3)
    assert layers.RNN(Leaky(), input_shape=(5, 3), batch_size=2)._batch_input_shape == (2, 5, 3)


def test_output_shape_of_high_rank():
    class Image:
        state_size = layers.TensorShape([4, 2])

        def call(self, inputs, states):
            return inputs + states[0], [inputs + states[0]]

    images = np.ones((2, 5, 4, 2), np.float32)
    layer = layers.RNN(Image(), return_sequences=True, return_state=True)
    outputs, state = layer(images)
    assert outputs.shape == (2, 5, 4, 2) and state.shape == (2, 4, 2)
    close(state, 5 * images[:, 0])


def test_initial_state_keyword():
    layer = layers.RNN(Leaky())
    start = np.full((2, 3), 10, np.float32)
    close(layer(X, initial_state=[start]), X.sum(1) + 10)
    close(layer(X, initial_state=start), X.sum(1) + 10)
    close(layer([X, start]), X.sum(1) + 10)


def test_initial_state_symbolic():
    x, start = layers.Input((None, 3)), layers.Input((3,))
    layer = layers.RNN(Leaky())
    model = layers.Model([x, start], layer(x, initial_state=start))
    assert layer.input == [x, start]
    ones = np.ones((2, 3), np.float32)
    close(model([X, ones]), X.sum(1) + 1)
    with pytest.raises(ArgumentError, match="got symbolic tensors and arrays together"):
        layer(x, initial_state=np.ones((2, 3)))


def test_initial_state_errors():
    layer = layers.RNN(Leaky())
    with pytest.raises(ArgumentError, match="`initial_state` has 2 states, but the cell .* has 1"):
        layer(X, initial_state=[X[:, 0], X[:, 0]])
    with pytest.raises(ArgumentError, match=r"has shape \(2, 2\).*expected \(2, 3\)"):
        layer(X, initial_state=np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match="give them in one way"):
        layer([X, X[:, 0]], initial_state=X[:, 0])


class Conditioned(Leaky):
    def call(self, inputs, states, constants=None):
        assert constants is not None
        output = inputs * constants[0] + states[0]
        return output, [output]


def test_constants_keyword():
    layer = layers.RNN(Conditioned())
    factor = np.array([[2.0], [3.0]], np.float32)
    close(layer(X, constants=[factor]), X.sum(1) * factor)
    close(layer(X, constants=factor), X.sum(1) * factor)
    close(layer([X, X[:, 0], factor]), X[:, 0] + X.sum(1) * factor)
    x, c = layers.Input((None, 3)), layers.Input((1,))
    model = layers.Model([x, c], layer(x, constants=c))
    close(model([X, factor]), X.sum(1) * factor)


def test_constants_of_call():
    factor = np.array([[2.0], [3.0]], np.float32)
    close(layers.RNN(Conditioned()).call(jnp.asarray(X), constants=[factor]), X.sum(1) * factor)


def test_constants_of_stacked_cells():
    layer = layers.RNN([Leaky(), Conditioned()])
    factor = np.full((2, 1), 2, np.float32)
    close(layer(X, constants=factor), 2 * np.cumsum(X, 1).sum(1))
    with pytest.raises(ArgumentError, match="RNN cell does not support constants"):
        layers.RNN([Leaky(), Leaky()])(X, constants=factor)


def test_constants_for_a_cell_without_them():
    with pytest.raises(ArgumentError, match="RNN cell does not support constants"):
        layers.RNN(Leaky())(X, constants=[X[:, 0]])


def test_training_reaches_a_cell_that_takes_it():
    class Trained(Leaky):
        def call(self, inputs, states, training=None):
            return inputs * (2 if training else 1), [states[0]]

    layer = layers.RNN(Trained())
    close(layer(X), X[:, -1])
    close(layer(X, training=True), 2 * X[:, -1])
    close(layers.RNN(Leaky())(X, training=True), X.sum(1))


def test_time_major():
    layer = layers.GRU(4, return_sequences=True, return_state=True)
    other = layers.GRU(4, return_sequences=True, return_state=True, time_major=True)
    mask = np.array([[1, 1, 1, 0, 1], [1, 0, 1, 1, 0]])
    want, state = layer(X, mask=mask)
    other.build((5, 2, 3))
    other.set_weights(layer.get_weights())
    got, got_state = other(X.swapaxes(0, 1), mask=mask.T)
    close(got.swapaxes(0, 1), want)
    close(got_state, state)
    assert other.compute_output_shape((5, 2, 3)) == [(5, 2, 4), (2, 4)]
