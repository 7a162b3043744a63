"""`add_loss`: losses of a call, and of the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Centred(layers.Layer):
    """Hands its inputs on; their squared mean is a loss."""

    def call(self, inputs):
        self.add_loss(jnp.mean(inputs) ** 2)
        return inputs * 1


class Cell(layers.GRUCell):
    def call(self, inputs, states, training=None):
        self.add_loss(jnp.sum(inputs))
        return super().call(inputs, states, training)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_loss_of_a_call():
    layer = Centred(activity_regularizer="l2")
    layer(X)
    close(layer.losses, [X.mean() ** 2, 0.01 * (X**2).sum()])
    assert len(layer.get_losses_for(None)) == 0
    layer(2 * X)
    close(layer.losses[0], (2 * X).mean() ** 2)


def test_a_function_is_a_loss_of_the_weights():
    layer = layers.Dense(2, kernel_regularizer="l2")
    layer.add_loss([lambda: jnp.sum(layer.kernel), lambda: jnp.float32(1)])
    model = layers.Sequential([layer])
    model(X[:, 0])
    kernel = layer.get_weights()[0]
    for owner in (layer, model):
        close(owner.get_losses_for(None), [0.01 * (kernel**2).sum(), kernel.sum(), 1])


def test_under_grad():
    model = layers.Sequential([Centred(), layers.Dense(2)])
    model(X)
    weights = [variable.value for variable in model.weights]

    def loss(x):
        _, _, losses = model.stateless_call(weights, [], x, return_losses=True)
        return sum(losses)

    close(jax.jit(jax.grad(loss))(X), np.full(X.shape, 2 * X.mean() / X.size))
    assert len(model.losses) == 1


def test_in_a_model():
    x = layers.Input((5, 3))
    layer = Centred(activity_regularizer="l1")
    y = layer(x)
    model = layers.Model(x, [y, *layer.get_losses_for(x)])
    _, mean, size = model(X)
    close([mean, size], [X.mean() ** 2, 0.01 * np.abs(X).sum()])


def test_in_a_model_of_a_layer_with_layers():
    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Centred()

        def call(self, inputs):
            self.add_loss(jnp.sum(inputs))
            return self.inner(inputs)

    x = layers.Input((5, 3))
    layer = Outer()
    y = layer(x)
    inner, own = layer._call_losses[0][1], layer._call_losses[1][1]
    close(layers.Model(x, [y, own])(X)[1], X.sum())
    with pytest.raises(ArgumentError, match="the loss of a layer inside `outer"):
        layers.Model(x, [y, inner])(X)


def test_errors():
    with pytest.raises(ArgumentError, match="`add_loss` .* got an array outside its `call`"):
        Centred().add_loss(jnp.float32(1))
    with pytest.raises(ArgumentError, match="a cell runs in a loop"):
        layers.RNN(Cell(4))(X)
