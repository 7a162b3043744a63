"""Initializers, activations, regularizers, and what the package exports."""

import doctest
import importlib
import pkgutil

import jax
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

PUBLIC = """
    Activation Bidirectional ConvLSTM2D ConvLSTM2DCell Dense Dropout Embedding Flatten GRU GRUCell
    Input L1L2 LSTM LSTMCell Layer Masking Model RNN Sequential SimpleRNN SimpleRNNCell
    StackedRNNCells SymbolicTensor TensorShape TimeDistributed Variable get_activation
    get_initializer get_regularizer l1 l2 set_seed
""".split()


def test_public_names():
    names = {name for name in vars(layers) if not name.startswith("_")}
    assert names == set(PUBLIC)


MODULES = [name for _, name, _ in pkgutil.iter_modules(layers.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(f"recurrent_iree.layers.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "make",
    [getattr(layers, name) for name in PUBLIC if name[0].isupper() and name != "SymbolicTensor"],
    ids=lambda make: make.__name__,
)
def test_public_docstrings_say_something(make):
    assert make.__doc__ and make.__doc__.split("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize(
    "name", ["glorot_uniform", "he_normal", "lecun_uniform", "uniform", "normal"]
)
def test_initializers_have_their_variance(name):
    values = layers.get_initializer(name)(jax.random.key(1), (200, 300), np.float32)
    fan_in, fan_out = 200, 300
    variance = {
        "glorot_uniform": 2 / (fan_in + fan_out),
        "he_normal": 2 / fan_in,
        "lecun_uniform": 1 / fan_in,
        "uniform": 0.1**2 / 12,
        "normal": 0.05**2,
    }[name]
    assert abs(float(values.mean())) < 1e-3
    np.testing.assert_allclose(float(values.var()), variance, rtol=0.05)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (2, 2, 3, 4)])
def test_orthogonal(shape):
    matrix = np.asarray(layers.get_initializer("orthogonal")(jax.random.key(0), shape, np.float32))
    matrix = matrix.reshape(-1, shape[-1])
    square = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(square, np.eye(len(square)), atol=1e-5)


def test_initializer_errors():
    with pytest.raises(ArgumentError, match="unknown initializer 'glorot'"):
        layers.get_initializer("glorot")
    with pytest.raises(ArgumentTypeError, match="must be a name or a function, got int"):
        layers.get_initializer(3)
    with pytest.raises(ArgumentError, match="orthogonal weight needs rank 2"):
        layers.get_initializer("orthogonal")(jax.random.key(0), (3,), np.float32)
    with pytest.raises(ArgumentError, match="cannot run inside jit or vmap"):
        jax.vmap(lambda key: layers.get_initializer("normal")(key, (3,), np.float32))(
            jax.random.split(jax.random.key(0), 2)
        )


def test_an_initializer_of_jax():
    layer = layers.GRU(4, kernel_initializer=jax.nn.initializers.constant(2.0))
    layer.build((None, None, 3))
    assert (layer.get_weights()[0] == 2).all()
    drawn = jax.vmap(lambda key: layer.cell.kernel_initializer(key, (2,), np.float32))
    assert drawn(jax.random.split(jax.random.key(0), 3)).shape == (3, 2)


def test_unit_forget_bias():
    for flag, forget in ((True, 1), (False, 0)):
        layer = layers.LSTM(4, unit_forget_bias=flag)
        layer.build((None, None, 3))
        bias = layer.get_weights()[2]
        assert (bias[4:8] == forget).all() and (bias[:4] == 0).all() and (bias[8:] == 0).all()


def test_set_seed_repeats_the_weights():
    def kernel():
        layers.set_seed(5)
        layer = layers.GRU(4)
        layer.build((None, None, 3))
        return layer.get_weights()[0]

    np.testing.assert_array_equal(kernel(), kernel())


@pytest.mark.parametrize("name", layers._activations.ACTIVATIONS)
def test_activations_by_name(name):
    y = layers.get_activation(name)(np.linspace(-2, 2, 5, dtype=np.float32))
    assert np.isfinite(y).all() and y.shape == (5,)


def test_activation_errors():
    assert layers.get_activation(None)(3) == 3
    assert layers.get_activation(np.sin) is np.sin
    with pytest.raises(ArgumentError, match="unknown activation 'tan'"):
        layers.LSTM(4, activation="tan")
    with pytest.raises(ArgumentTypeError, match="must be a name or a function, got int"):
        layers.Dense(4, activation=3)


def test_regularizers():
    x = np.array([1.0, -2.0])
    assert float(layers.l1(0.5)(x)) == 1.5 and float(layers.l2(0.5)(x)) == 2.5
    assert layers.get_regularizer("l1_l2") == layers.L1L2(0.01, 0.01)
    assert layers.get_regularizer(None) is None
    assert hash(layers.l1()) == hash(layers.L1L2(0.01, 0))
    with pytest.raises(ArgumentError, match="unknown regularizer 'l3'"):
        layers.get_regularizer("l3")
    with pytest.raises(ArgumentTypeError, match="must be a name or a function, got int"):
        layers.get_regularizer(3)
    with pytest.raises(ArgumentError, match="must not be negative"):
        layers.l1(-1)


def test_stacked_cells():
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    reverse = layers.StackedRNNCells(cells, reverse_state_order=True)
    assert reverse.state_size == [(3,), (2,), (2,)] and reverse.output_size == (3,)
    x = np.ones((2, 4, 5), np.float32)
    natural = layers.RNN(cells, return_state=True)(x)
    reversed_ = layers.RNN(reverse, return_state=True)(x)
    for got, want in zip(reversed_, [natural[i] for i in (0, 3, 1, 2)], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    again = layers.StackedRNNCells.from_config(reverse.get_config())
    assert again.get_config() == reverse.get_config()
    with pytest.raises(ArgumentError, match="`cells` must be a list of at least one cell"):
        layers.StackedRNNCells([])
    with pytest.raises(ArgumentError, match=r"`cells\[1\]` \(object\) has no `call`"):
        layers.StackedRNNCells([cells[0], object()])
