"""layers.RNN refuses inputs and cells that cannot work."""

import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Leaky:
    state_size = 3

    def call(self, inputs, states):
        return inputs + states[0], [inputs + states[0]]


def test_inputs_must_have_time():
    with pytest.raises(ArgumentError, match=r"needs inputs of rank at least 3 .*shape \(2, 3\)"):
        layers.RNN(Leaky())(X[:, 0])


def test_features_must_stay():
    layer = layers.LSTM(4)
    layer(X)
    assert layer(X[:, :2]).shape == (2, 4)
    with pytest.raises(ArgumentError, match=r"was built for features \(3,\), got .*\(2, 5, 2\)"):
        layer(X[:, :, :2])


def test_a_cell_may_not_change_its_states():
    class Growing(Leaky):
        def call(self, inputs, states):
            return inputs, [jnp.concatenate([states[0], inputs], 1)]

    with pytest.raises(ArgumentError, match=r"Growing.call`: state 0 has shape \(2, 6\)"):
        layers.RNN(Growing())(X)
    many = type("Many", (Leaky,), {"call": lambda self, x, s: (x, [x, x])})
    with pytest.raises(ArgumentError, match="Many.call` has 2 states, but the cell has 1"):
        layers.RNN(many())(X)
    single = type("Single", (Leaky,), {"call": lambda self, x, s: x})
    with pytest.raises(ArgumentError, match=r"Single.call must return a pair \(output, states\)"):
        layers.RNN(single())(X)


def test_a_stateful_layer_keeps_its_batch_size():
    layer = layers.GRU(4, stateful=True)
    layer(X)
    with pytest.raises(
        ArgumentError, match="states for a batch of 2, got inputs with a batch of 1"
    ):
        layer(X[:1])


def test_a_reset_of_another_shape():
    with pytest.raises(ArgumentError, match=r"`reset` has shape \(2, 4\), expected .*\(2, 5\)"):
        layers.GRU(4)(X, reset=np.zeros((2, 4)))


def test_initial_states_of_the_cell_must_fit():
    class Started(Leaky):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return jnp.zeros((batch_size, 2), dtype)

    with pytest.raises(
        ArgumentError, match=r"Started.get_initial_state`: state 0 has shape \(2, 2\)"
    ):
        layers.RNN(Started())(X)
