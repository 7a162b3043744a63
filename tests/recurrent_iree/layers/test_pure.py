"""The pure functional face under jit, grad, vmap and scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, LayerRuntimeError, StateError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def values(variables):
    return [variable.value for variable in variables]


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_stateless_call_equals_the_object_under_jit(kind):
    layer = kind(4, return_sequences=True, return_state=True)
    want = layer(X)
    got, states = jax.jit(layer.stateless_call)(values(layer.weights), [], X)
    assert states == []
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
    layer = layers.LSTM(3)
    layer.build((None, None, 3))

    def loss(weights):
        return jnp.sum(layer.stateless_call(weights, [], X)[0] ** 2)

    weights = values(layer.weights)
    gradient = jax.grad(loss)(weights)[0]
    step = jnp.zeros_like(weights[0]).at[1, 5].set(1e-2)
    difference = loss([weights[0] + step, *weights[1:]]) - loss([weights[0] - step, *weights[1:]])
    np.testing.assert_allclose(gradient[1, 5], difference / 2e-2, rtol=2e-2, atol=1e-4)


def test_vmap_over_weights_is_an_ensemble():
    layer = layers.GRU(4)
    members = [layer.init_weights(jax.random.key(i), (None, None, 3)) for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    got = jax.vmap(lambda w: layer.stateless_call(w, [], X)[0])(stacked)
    for i, weights in enumerate(members):
        layer.set_weights(weights)
        np.testing.assert_allclose(got[i], layer(X), rtol=1e-5, atol=1e-6)


def test_states_go_in_and_come_out_and_the_object_keeps_its_own():
    layer = layers.LSTM(4, stateful=True)
    layer.build((2, 5, 3))
    weights, states = values(layer.weights), values(layer.state_variables)
    first, states = jax.jit(layer.stateless_call)(weights, states, X)
    second, _ = jax.jit(layer.stateless_call)(weights, states, X)
    assert all((state == 0).all() for state in layer.states)
    np.testing.assert_allclose(first, layer(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(second, layer(X), rtol=1e-6, atol=1e-6)


def test_the_pure_face_takes_another_batch_size_than_the_object():
    layer = layers.GRU(4, stateful=True)
    layer.build((2, 5, 3))
    states = [jnp.zeros((1, 4))]
    output, states = layer.stateless_call(values(layer.weights), states, X[:1])
    assert output.shape == (1, 4) and states[0].shape == (1, 4)


def test_scan_over_chunks_with_carried_states():
    layer = layers.GRU(4, stateful=True, return_sequences=True)
    layer.build((2, 5, 3))
    weights, states = values(layer.weights), values(layer.state_variables)
    chunks = jnp.stack([X, X + 1, X - 1])

    def body(states, chunk):
        outputs, states = layer.stateless_call(weights, states, chunk)
        return states, outputs

    _, got = jax.lax.scan(body, states, chunks)
    for chunk, outputs in zip(chunks, got, strict=True):
        np.testing.assert_allclose(outputs, layer(chunk), rtol=1e-5, atol=1e-6)


def test_a_stateful_object_inside_jit_is_refused_and_leaks_nothing():
    layer = layers.LSTM(4, stateful=True)
    layer.build((2, 5, 3))
    with pytest.raises(StateError, match="Use `outputs, states = layer.stateless_call"):
        jax.jit(layer)(X)
    assert not any(isinstance(state, jax.core.Tracer) for state in layer.states)


def test_building_inside_jit_leaves_real_weights():
    layer = layers.GRU(4)
    with jax.checking_leaks():
        y = jax.jit(lambda x: layer(x))(X)
    assert y.shape == (2, 4)
    assert all(isinstance(weight, np.ndarray) for weight in layer.get_weights())
    assert layer._nodes() == []


def test_losses_come_back_for_training():
    layer = layers.LSTM(4, kernel_regularizer="l2", activity_regularizer=layers.l1(0.5))
    layer.build((None, None, 3))
    weights = values(layer.weights)
    outputs, states, losses = jax.jit(
        lambda w, x: layer.stateless_call(w, [], x, return_losses=True)
    )(weights, X)
    assert states == [] and len(losses) == 2
    np.testing.assert_allclose(losses[0], 0.01 * jnp.sum(weights[0] ** 2), rtol=1e-5)
    np.testing.assert_allclose(losses[1], 0.5 * jnp.sum(jnp.abs(outputs)), rtol=1e-5)


def test_errors_name_the_argument():
    layer = layers.LSTM(4)
    with pytest.raises(LayerRuntimeError, match="is not built"):
        layer.stateless_call([], [], X)
    layer.build((None, None, 3))
    weights = values(layer.weights)
    with pytest.raises(ArgumentError, match="`weights` has 2 arrays.*has 3: lstm/kernel"):
        layer.stateless_call(weights[:2], [], X)
    with pytest.raises(ArgumentError, match=r"`lstm/kernel` of layer .* has shape \(3, 16\)"):
        layer.stateless_call([weights[1], *weights[1:]], [], X)
    with pytest.raises(ArgumentError, match="`states` has 1 arrays.*has 0: none"):
        layer.stateless_call(weights, [X], X)


def test_init_weights_is_a_function_of_the_key():
    layer = layers.LSTM(4)
    with pytest.raises(LayerRuntimeError, match="give `input_shape`"):
        layer.init_weights(jax.random.key(0))
    a = layer.init_weights(jax.random.key(0), (None, None, 3))
    b = layer.init_weights(jax.random.key(0))
    c = layer.init_weights(jax.random.key(1))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert (a[0] != c[0]).any()
    assert [x.shape for x in a] == [w.shape for w in layer.weights]


def test_a_sequential_model_trains_under_jit():
    layers.set_seed(3)
    model = layers.Sequential([layers.SimpleRNN(6), layers.Dense(1)])
    model.build((None, None, 3))
    target = X.sum((1, 2), keepdims=True)[:, 0]

    @jax.jit
    def step(weights):
        def loss(weights):
            return jnp.mean((model.stateless_call(weights, [], X)[0] - target) ** 2)

        value, gradient = jax.value_and_grad(loss)(weights)
        return value, [w - 0.05 * g for w, g in zip(weights, gradient, strict=True)]

    weights = values(model.weights)
    first, weights = step(weights)
    for _ in range(20):
        last, weights = step(weights)
    assert last < 0.5 * first
    model.set_weights(weights)
    np.testing.assert_allclose(
        model(X), model.stateless_call(weights, [], X)[0], rtol=1e-5, atol=1e-6
    )
