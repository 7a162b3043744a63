"""`weights=`: which weights are stored in fewer bits, and what the report says of it."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
from recurrent_iree_runtime import ArgumentError

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32) * 0.3


W, U, V, B, P = normal(5, 16), normal(8, 16), normal(8, 3), normal(16), normal(8)
E = normal(8, 8)


def program(x):
    """A cell with a peephole, a projection, and a matrix that is also read element by element."""

    def step(h, v):
        e = jnp.asarray(E)
        a, b = jnp.split(v @ W + h @ U + B, 2, axis=-1)
        h = jnp.tanh(a) * P + b + h @ e + jnp.sum(e * 0.01)
        return h, h @ V

    return lax.scan(step, jnp.zeros((1, 8)), jnp.swapaxes(x, 0, 1))[1]


SPEC = ri.spec("batch=1", "time=4", 5)


def by_shape(lowered):
    storage = lowered.report()["storage"]
    shapes = {name: tuple(shape) for name, shape in lowered.report()["weights"].items()}
    stored = {shapes[name]: kind for name, kind in storage["stored"].items()}
    return stored, {shapes[name]: why for name, why in storage["kept"].items()}


@pytest.mark.parametrize(("kind", "dtype"), [("bf16", "bfloat16"), ("int8", "int8")])
def test_matrices_are_stored_and_the_rest_is_kept(kind, dtype):
    stored, kept = by_shape(ri.lower(program, SPEC, weights=kind, xla=False))
    assert stored == dict.fromkeys([W.shape, U.shape, V.shape], dtype)
    assert kept[B.shape] == "not a matrix of a product"
    assert kept[E.shape] == "also used by mul"


def test_channels_are_the_axes_that_no_product_sums_over():
    both_ways, left = normal(6, 4), normal(4, 7)

    def both(x):
        t, u = jnp.asarray(both_ways), jnp.asarray(left)
        return lax.scan(lambda h, v: (h, (v @ t.T @ t, u.T @ v[0])), 0.0, x)[1]

    lowered = ri.lower(both, ri.spec("time=2", 1, 4), weights="int8", xla=False)
    _, kept = by_shape(lowered)
    assert kept[both_ways.shape] == "products sum over each of its axes, so it has no channels"
    (layout,) = lowered.stored.layout.weights.values()
    assert layout.axes == (1,)


def test_float32_says_nothing_and_changes_nothing():
    lowered = ri.lower(program, SPEC, xla=False)
    assert "storage" not in lowered.report()
    assert all(array.dtype == np.float32 for array in lowered.weights.values())


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_golden_outputs_are_those_of_the_rounded_weights(kind):
    lowered = ri.lower(program, SPEC, weights=kind, xla=False)
    exact = ri.lower(program, SPEC, xla=False)
    losses = lowered.report()["storage"]["loss"]
    for case, other, loss in zip(lowered.goldens, exact.goldens, losses, strict=True):
        difference = float(np.abs(case.outputs[0].astype(float) - other.outputs[0]).max())
        assert difference == pytest.approx(loss["max abs error"], rel=1e-3)
        assert 0 < loss["relative error"] < 0.05
    # independent: the step in float64 NumPy with the weights that callers see
    shapes = {a.shape: a.astype(np.float64) for a in lowered.stored.seen().values()}
    case = lowered.goldens[0]
    h, made = np.zeros((1, 8)), []
    for v in np.swapaxes(case.inputs[0], 0, 1).astype(np.float64):
        z = v @ shapes[W.shape] + h @ shapes[U.shape] + B
        h = np.tanh(z[:, :8]) * P + z[:, 8:] + h @ E + np.sum(E * 0.01)
        made.append(h @ shapes[V.shape])
    np.testing.assert_allclose(case.outputs[0], np.stack(made), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", ["f16", "", None, 8, np.ones(3)])
def test_a_bad_value_is_refused(bad):
    with pytest.raises(ArgumentError, match=r"weights=.*expected one of 'f32', 'bf16', 'int8'"):
        ri.lower(program, SPEC, weights=bad)
