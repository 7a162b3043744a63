"""RNN over several inputs at once: the cell gets one step of each."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError

RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(2, 5, 3)).astype(np.float32)
B = RANDOM.normal(size=(2, 5, 2, 4)).astype(np.float32)


class Pair(NamedTuple):
    a: object
    b: object


class Both(layers.Layer):
    """Adds its projected inputs to its state."""

    state_size = 4

    def build(self, input_shape):
        self.shapes = input_shape
        self.kernel = self.add_weight("kernel", (3, 4))
        self.built = True

    def call(self, inputs, states):
        a, b = inputs.values() if isinstance(inputs, dict) else inputs
        output = a @ self.kernel + b.sum(1) + states[0]
        return output, [output]


def want(layer, x):
    a, b = jax.tree.leaves(x)
    return (a @ np.asarray(layer.cell.kernel) + b.sum(2)).cumsum(1)


def close(got, other):
    np.testing.assert_allclose(got, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x", [{"a": A, "b": B}, (A, B), Pair(A, B)], ids=["dict", "tuple", "pair"])
def test_a_tree_of_inputs(x):
    layer = layers.RNN(Both(), return_sequences=True, return_state=True)
    outputs, state = layer(x)
    close(outputs, want(layer, x))
    close(state, outputs[:, -1])
    shapes = jax.tree.leaves(layer.cell.shapes, is_leaf=lambda s: type(s) is tuple and None in s)
    assert jax.tree.leaves(shapes) == [2, 3, 2, 2, 4]
    start = np.ones((2, 4), np.float32)
    close(layer([x, start])[0], outputs + 1)
    close(layer(x, initial_state=start)[0], outputs + 1)


def test_masks_and_chunks():
    x = {"a": A, "b": B}
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    layer = layers.RNN(Both())
    got = layer(x, mask=mask)
    close(got[0], want(layer, x)[0, 2])
    masked = layers.Masking()(jnp.asarray(A * mask[..., None]))
    close(layer({"a": masked, "b": jnp.asarray(B)}), layer({"a": masked, "b": B}, mask=mask))
    stream = layers.RNN(layer.cell, stateful=True)
    stream({"a": A[:, :2], "b": B[:, :2]})
    close(stream({"a": A[:, 2:], "b": B[:, 2:]}), layer(x))


def test_symbols_and_models():
    x = {"a": layers.Input((None, 3)), "b": layers.Input((None, 2, 4))}
    layer = layers.RNN(Both(), return_sequences=True)
    y = layer(x)
    assert y.shape == (None, None, 4)
    assert layer.input_shape == [(None, None, 3), (None, None, 2, 4)]
    assert layer.compute_output_shape({"a": (2, 5, 3), "b": (2, 5, 2, 4)}) == (2, 5, 4)
    model = layers.Model(x, y)
    close(model({"a": A, "b": B}), layer({"a": A, "b": B}))


def test_a_stack_and_the_initial_state_of_a_cell():
    class Started(Both):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return jnp.full((batch_size, 4), inputs["a"].shape[-1], dtype)

    x = {"a": A, "b": B}
    layer = layers.RNN([Started(), layers.GRUCell(6)])
    assert layer(x).shape == (2, 6)
    assert [s.shape for s in layer.get_initial_state(x)] == [(2, 4), (2, 6)]
    assert (layer.get_initial_state(x)[0] == 3).all()


def test_errors():
    layer = layers.RNN(Both())
    layer({"a": A, "b": B})
    with pytest.raises(
        ArgumentError, match=r"built for features {'a': \(3,\), 'b': \(2, 4\)}, got"
    ):
        layer({"a": A, "b": B[..., :2]})
    with pytest.raises(ArgumentError, match=r"`inputs\['b'\]` is .*batch and time must agree"):
        layer({"a": A, "b": B[:, :4]})
    with pytest.raises(ArgumentError, match="rank at least 3"):
        layers.RNN(Both())({"a": A, "b": B[0, 0]})
    with pytest.raises(ArgumentError, match=r"takes steps of shape \(batch, features\)"):
        layers.GRU(4)({"a": A, "b": A})


def test_compiled():
    layer = layers.RNN(Both(), return_sequences=True)
    x = {"a": A, "b": B}
    layer(x)
    specs = {"a": ri.spec("batch=2", "time=?", 3), "b": ri.spec("batch=2", "time=?", 2, 4)}
    artifact = ri.compile(layer, specs, targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        close(model(x), layer(x))
