"""Layers in other precisions, from `compile` to a model: fused, and nothing is demoted."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt

RNG = np.random.default_rng(7)


def cell(u, kind):
    def program(x):
        def step(state, z):
            h, c = state
            i, f, g, o = jnp.split(z + h @ jnp.asarray(u), 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = jnp.zeros((x.shape[0], 12), kind)
        return jax.lax.scan(step, (start, start), jnp.swapaxes(x, 0, 1))[1]

    return program


def run(kind):
    u = (RNG.standard_normal((12, 48)) * 0.3).astype(kind)
    x = RNG.standard_normal((2, 7, 48)).astype(kind)
    program = cell(u, kind)
    spec = ri.spec("batch=2", "time=7", 48, dtype=np.dtype(kind).name)
    artifact = ri.compile(program, spec, targets=["cpu"])
    (target,) = artifact.report()["targets"]
    assert target["verification"]["status"] == "verified"
    assert {made["form"] for made in target["recurrences"]} == {"fused kernel"}
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        made = model(x)
        stream = model.session(batch=2)
        steps = np.stack([stream.step(x[:, t]) for t in range(7)])
    expected = np.asarray(jax.jit(program)(x))
    assert made.dtype == expected.dtype == kind
    return made, np.reshape(steps, made.shape), expected


def test_float64_stays_float64():
    with jax.enable_x64(True):
        made, steps, expected = run(np.float64)
    np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(steps, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16])
def test_half_precision(kind):
    made, steps, expected = run(kind)
    for result in (made, steps):
        error = np.abs(result.astype(np.float64) - expected.astype(np.float64)).max()
        assert error < (0.03 if kind is not np.float16 else 0.004)


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16])
def test_products_before_and_after_the_loop_are_summed_in_float32(kind):
    """IREE 3.13 alone sums float16 in float16, which stops at 32 here."""
    ones = np.ones((4096, 8), kind)

    def program(x):
        w = jnp.asarray(ones)
        return jax.lax.scan(lambda h, v: (h, v @ w), jnp.zeros((1, 8), kind), x)[1]

    spec = ri.spec("time=2", 1, 4096, dtype=np.dtype(kind).name)
    artifact = ri.compile(program, spec, targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        made = model(np.full((2, 1, 4096), 1 / 64, kind))
    np.testing.assert_allclose(made.astype(np.float64), 64.0, rtol=2.0**-7)
