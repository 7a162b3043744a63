"""Layers whose states, inputs and weights are bfloat16 or float16: fused, summed in float32."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

DTYPES = {"bf16": (ml_dtypes.bfloat16, 2.0**-7), "f16": (np.float16, 2.0**-10)}


def _lstm(u):
    def step(state, z):
        h, c = state
        i, f, g, o = jnp.split(z + h @ u, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return step


def _gru(u):
    def step(state, z):
        h, other = state
        x_z, x_r, x_h, _ = jnp.split(z, 4, axis=-1)
        h_z, h_r, h_h, _ = jnp.split(h @ u, 4, axis=-1)
        gate = jax.nn.sigmoid(x_z + h_z)
        new = jnp.tanh(x_h + jax.nn.sigmoid(x_r + h_r) * h_h)
        return (gate * h + (1 - gate) * new, other), h

    return step


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("cell", [_lstm, _gru])
@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_cells(dtype, cell, batch):
    """Near the same cell in float64, as near as XLA is or within some roundings of the state."""
    kind, eps = DTYPES[dtype]
    random = np.random.default_rng(batch)
    u = (random.standard_normal((20, 80)) * 0.2).astype(kind)
    x = random.standard_normal((6, batch, 80)).astype(kind)
    h = (random.standard_normal((batch, 20)) * 0.3).astype(kind)

    def run(u, x, h):
        return lax.scan(cell(u), (h, h), x)

    module, found = running.fuse(run, [u, x, h])
    made = running.compiled(module)(u, x, h)
    assert all(stage.packed_as in ((dtype,), ()) for stage in found[0].plan.stages)
    assert any(stage.packed_as for stage in found[0].plan.stages), found[0].plan.text()
    expected = running.by_xla(run, [u, x, h])
    with jax.enable_x64(True):
        exact = running.by_xla(run, [a.astype(np.float64) for a in (u, x, h)])
    for ours, xla, true in zip(made, expected, exact, strict=True):
        assert ours.dtype == xla.dtype == kind
        error = np.abs(ours.astype(np.float64) - true).max()
        allowed = max(np.abs(xla.astype(np.float64) - true).max() * 1.5, 3 * eps)
        assert error <= allowed
        np.testing.assert_allclose(
            ours.astype(np.float64), xla.astype(np.float64), rtol=6 * eps, atol=6 * eps
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_in_float32(dtype):
    """A sum of 4,096 small terms, which half precision would lose."""
    kind, eps = DTYPES[dtype]
    ones = np.ones((4096, 8), kind)
    h = np.full((1, 4096), 1 / 64, kind)

    def run(h, ones):
        def step(h, _):
            z = h @ ones  # the next state needs it, so it stays in the loop
            return z[:, :1] * 0 - h, z

        return lax.scan(step, h, None, length=2)[1]

    made = running.compiled(running.fused_only(run, [h, ones]))(h, ones)
    np.testing.assert_allclose(np.abs(made[0].astype(np.float64)), 64.0, rtol=eps)
