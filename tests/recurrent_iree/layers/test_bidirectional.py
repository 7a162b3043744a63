"""`Bidirectional`: merging, states, configuration and errors (masks: test_references)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError, LayerAttributeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def directions(layer, x=X, **options):
    return [
        np.asarray(part)
        for part in (layer.forward_layer(x, **options), layer.backward_layer(x, **options))
    ]


@pytest.mark.parametrize("mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("sequences", [False, True])
def test_merge_mode(mode, sequences):
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=sequences), merge_mode=mode)
    got = layer(X)
    a, b = directions(layer)
    b = b[:, ::-1] if sequences else b
    want = {"concat": np.concatenate([a, b], -1), "sum": a + b, "ave": (a + b) / 2, "mul": a * b}
    close(got, want[mode])
    assert got.shape == layer.compute_output_shape(X.shape)


def test_merge_mode_none_gives_both():
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=None)
    a, b = layer(X)
    want = directions(layer)
    close(a, want[0])
    close(b, want[1][:, ::-1])
    mask = np.ones((2, 5), bool)
    assert (
        layer.compute_mask(None, mask) == [mask, mask] or layer.compute_mask(None, mask)[0] is mask
    )
    assert layer.compute_output_shape((2, 5, 3)) == [(2, 5, 4), (2, 5, 4)]


def test_states_of_both_directions():
    layer = layers.Bidirectional(layers.LSTM(4, return_state=True))
    output, *states = layer(X)
    forward, backward = layer.forward_layer(X), layer.backward_layer(X)
    for got, want in zip(states, [*forward[1:], *backward[1:]], strict=True):
        close(got, want)
    start = [np.full((2, 4), i, np.float32) for i in range(4)]
    output, *_ = layer(X, initial_state=start)
    close(output[:, :4], layer.forward_layer(X, initial_state=start[:2])[0])
    close(output[:, 4:], layer.backward_layer(X, initial_state=start[2:])[0])
    with pytest.raises(ArgumentError, match="has 3 arrays, expected 4: 2 for the forward"):
        layer(X, initial_state=start[:3])


def test_stateful():
    layer = layers.Bidirectional(layers.GRU(4, stateful=True))
    assert layer.stateful
    first, second = layer(X), layer(X)
    assert np.abs(first - second).max() > 1e-4
    assert len(layer.states) == 2
    layer.reset_states()
    close(layer(X), first)
    with pytest.raises(LayerAttributeError, match="no layer of .* is stateful"):
        layers.Bidirectional(layers.GRU(4)).reset_states()


def test_reset_marks_segments_for_both_directions():
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    reset = np.array([[0, 0, 1, 0, 0], [0, 1, 0, 0, 1]])
    got = np.asarray(layer(X, reset=reset))
    for row, cuts in enumerate([[0, 2, 5], [0, 1, 4, 5]]):
        for start, stop in zip(cuts, cuts[1:], strict=False):
            close(got[row, start:stop], layer(X[row : row + 1, start:stop])[0])


def test_a_backward_layer_of_its_own():
    forward = layers.GRU(4, return_sequences=True)
    backward = layers.LSTM(2, return_sequences=True, go_backwards=True)
    layer = layers.Bidirectional(forward, backward_layer=backward)
    assert layer(X).shape == (2, 5, 6)
    other = layers.Bidirectional.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()
    with pytest.raises(ArgumentError, match="go in the same direction"):
        layers.Bidirectional(forward, backward_layer=layers.GRU(4, return_sequences=True))
    with pytest.raises(ArgumentError, match="return_sequences=True but .* return_sequences=False"):
        layers.Bidirectional(forward, backward_layer=layers.GRU(4, go_backwards=True))


def test_a_custom_cell_is_mirrored():
    class Cell(layers.SimpleRNNCell):
        pass

    layer = layers.Bidirectional(layers.RNN([Cell(4), layers.GRUCell(2)]))
    assert isinstance(layer.backward_layer.cell.cells[0], Cell)
    assert layer(X).shape == (2, 4)


def test_time_major():
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True, time_major=True))
    other = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    got = layer(X.swapaxes(0, 1))
    other.build(X.shape)
    other.set_weights(layer.get_weights())
    close(got.swapaxes(0, 1), other(X))


def test_config_weights_and_pure_face():
    layer = layers.Bidirectional(layers.LSTM(4), merge_mode="sum", name="both")
    layer.build((None, None, 3))
    assert layer.weight_names[::3] == ["both/forward/kernel", "both/backward/kernel"]
    other = layers.Bidirectional.from_config(layer.get_config())
    assert other.get_config() == layer.get_config()
    other.build((None, None, 3))
    other.set_weights(layer.get_weights())
    weights = [variable.value for variable in layer.weights]
    want = layer(X)
    close(other(X), want)
    close(jax.jit(lambda w: layer.stateless_call(w, [], X)[0])(weights), want)
    gradient = jax.grad(lambda w: jnp.sum(layer.stateless_call(w, [], X)[0]))(weights)
    assert all((part != 0).any() for part in gradient)
    assert layer(layers.Input((None, 3))).shape == (None, 4)


def test_errors():
    with pytest.raises(ArgumentTypeError, match="`layer` must be a recurrent layer, got Dense"):
        layers.Bidirectional(layers.Dense(3))
    with pytest.raises(ArgumentError, match="`merge_mode` must be one of concat, .*'max'"):
        layers.Bidirectional(layers.GRU(3), merge_mode="max")
