"""Kernels in float64: accuracy against extended precision, whole cells, and conversions.

Subnormal numbers are left out: IREE and XLA both run with those flushed to zero.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

_random = np.random.default_rng(4)
REALS = np.concatenate(
    [
        _random.uniform(-9, 9, 400),
        _random.uniform(-1, 1, 300),
        _random.uniform(-745, 709, 200),
        10.0 ** _random.uniform(-300, 300, 100),
        -(10.0 ** _random.uniform(-300, 2, 100)),
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 2.0**-1022, 709.7, 709.8],
        [0.5 * np.log(2), -0.5 * np.log(2), 1 - 2**-53, 1 + 2**-52, -1 + 2**-53, 22.0, -40.0],
    ]
)
EXTENDED = np.finfo(np.longdouble).nmant > 52
ULPS = {
    "exp": (jnp.exp, np.exp, 2),
    "expm1": (jnp.expm1, np.expm1, 4),
    "log": (lambda x: jnp.log(jnp.abs(x)), lambda x: np.log(np.abs(x)), 2),
    "log1p": (jnp.log1p, np.log1p, 2),
    "tanh": (jnp.tanh, np.tanh, 4),
    "sigmoid": (jax.nn.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 4),
    "rsqrt": (lambda x: lax.rsqrt(jnp.abs(x)), lambda x: 1 / np.sqrt(np.abs(x)), 2),
    "sqrt": (lambda x: jnp.sqrt(jnp.abs(x)), lambda x: np.sqrt(np.abs(x)), 1),
}
CONVERSIONS = {
    "int8": lambda x: x.astype(jnp.int8),
    "int32": lambda x: x.astype(jnp.int32),
    "uint32": lambda x: x.astype(jnp.uint32),
    "float32": lambda x: x.astype(jnp.float32),
    "there and back": lambda x: x.astype(jnp.float32).astype(jnp.float64) + x,
    "floor": jnp.floor,
    "round": jnp.round,
    "sign": jnp.sign,
    "finite": jnp.isfinite,
    "clip": lambda x: jnp.clip(x, -0.3, 0.7),
    "below": lambda x: x < 0.1,
}


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def _both(functions, values):
    def run(x):
        def step(state, _):
            return jnp.roll(state, 1), tuple(f(state) for f in functions)

        return lax.scan(step, x, None, length=2)[1]

    made = running.compiled(running.fused_only(run, [values]))(values)
    return made, running.by_xla(run, [values])


@pytest.mark.skipif(not EXTENDED, reason="NumPy has no extended precision on this machine")
def test_functions_are_within_a_few_ulp():
    made, _ = _both([jax_f for jax_f, _, _ in ULPS.values()], REALS)
    with np.errstate(all="ignore"):
        for result, (name, (_, exact, bound)) in zip(made, ULPS.items(), strict=True):
            assert result.dtype == np.float64
            true = exact(REALS.astype(np.longdouble))
            rounded = true.astype(np.float64)
            normal = np.isfinite(rounded) & (np.abs(rounded) >= 2.0**-1022)
            ulp = np.abs(result[0] - true)[normal] / np.spacing(np.abs(rounded[normal]))
            assert ulp.max() <= bound, (name, ulp.max(), REALS[normal][ulp.argmax()])
            assert (np.isnan(result[0]) == np.isnan(rounded)).all(), name
            infinite = np.isinf(rounded)
            assert (result[0][infinite] == rounded[infinite]).all(), name
            tiny = np.isfinite(rounded) & (np.abs(rounded) < 2.0**-1022)
            np.testing.assert_allclose(result[0][tiny], rounded[tiny], atol=2.0**-1022)


def test_conversions_equal_xla():
    edges = [2147483646.7, 2147483600.2, 4294967295.4, 3e9, -3e9, 127.6, -128.4, 1e20, -1e20]
    values = np.concatenate([REALS[:40], REALS[-19:], edges])
    made, expected = _both(list(CONVERSIONS.values()), values)
    for name, a, b in zip(CONVERSIONS, made, expected, strict=True):
        np.testing.assert_array_equal(a.astype(b.dtype), b, err_msg=name)


@pytest.mark.parametrize(("batch", "units"), [(1, 16), (5, 13)])
@pytest.mark.parametrize("cell", ["lstm", "norm"])
def test_cells_equal_xla(cell, batch, units):
    make = np.random.default_rng(batch)
    w, u = make.standard_normal((2, units, 4 * units)) * 0.4
    x, h = make.standard_normal((4, batch, units)), make.standard_normal((batch, units))

    def lstm(state, v):
        h, c = state
        i, f, g, o = jnp.split(v @ w + h @ u, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def norm(state, v):
        h, c = state
        z = v + h @ u[:, :units]
        z = (z - z.mean(-1, keepdims=True)) / jnp.sqrt(z.var(-1, keepdims=True) + 1e-9)
        return (jax.nn.softplus(z), jax.nn.softmax(c)), z

    def run(x, h):
        return lax.scan({"lstm": lstm, "norm": norm}[cell], (h, h), x)

    made = running.compiled(running.fused_only(run, [x, h]))(x, h)
    assert all(a.dtype == np.float64 for a in made)
    running.assert_close(made, running.by_xla(run, [x, h]), rtol=1e-12, atol=1e-13)


def test_float32_weights_in_a_float64_cell():
    u = np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)

    def run(h):
        def step(h, _):
            return jnp.tanh(h @ u.astype(jnp.float64)), h.astype(jnp.float32) @ u

        return lax.scan(step, h, None, length=3)

    h = np.random.default_rng(1).standard_normal((2, 9))
    made = running.compiled(running.fused_only(run, [h]))(h)
    assert [a.dtype.name for a in made] == ["float64", "float32"]
    expected = running.by_xla(run, [h])
    np.testing.assert_allclose(made[0], expected[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(made[1], expected[1], rtol=1e-5, atol=1e-6)
