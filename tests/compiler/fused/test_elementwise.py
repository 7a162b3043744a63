"""Element-wise operations inside a kernel: in vectors and alone, against float64 and XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

_random = np.random.default_rng(3)
REALS = np.concatenate(
    [
        _random.uniform(-9, 9, 600),
        _random.uniform(-1, 1, 300),
        10.0 ** _random.uniform(-20, 1.9, 60),
        -(10.0 ** _random.uniform(-20, 1.9, 60)),
        [
            0.5,
            -1.5,
            2.5,
            8388607.5,
            0.0,
            -0.0,
            np.inf,
            -np.inf,
            np.nan,
            1.0,
            -1.0,
            88.5,
            -87.0,
            1e3,
            -1e3,
        ],
    ]
).astype(np.float32)
ULPS = {
    "exp": (jnp.exp, np.exp, 4),
    "tanh": (jnp.tanh, np.tanh, 4),
    "sigmoid": (jax.nn.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 5),
    "expm1": (jnp.expm1, np.expm1, 5),
    "log": (lambda x: jnp.log(jnp.abs(x)), lambda x: np.log(np.abs(x)), 4),
    "log1p": (lambda x: jnp.log1p(jnp.abs(x)), lambda x: np.log1p(np.abs(x)), 4),
    "sqrt": (lambda x: jnp.sqrt(jnp.abs(x)), lambda x: np.sqrt(np.abs(x)), 1),
    "rsqrt": (lambda x: lax.rsqrt(jnp.abs(x)), lambda x: 1 / np.sqrt(np.abs(x)), 4),
    "sin": (jnp.sin, np.sin, 4),
    "cos": (jnp.cos, np.cos, 4),
    "tan": (jnp.tan, np.tan, 5),
    "floor": (jnp.floor, np.floor, 0),
    "ceil": (jnp.ceil, np.ceil, 0),
    "round": (jnp.round, np.round, 0),
    "sign": (jnp.sign, np.sign, 0),
    "round away": (
        lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
        lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
        0,
    ),
}
BY_XLA = {
    "erf": lax.erf,
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "clip": lambda x: jnp.clip(x, -1, 0.5),
    "is_finite": lambda x: jnp.isfinite(x),
    "is_nan": lambda x: jnp.where(jnp.isnan(x), 7.0, x),
    "maximum": lambda x: jnp.maximum(x, 0.25),
    "minimum": lambda x: jnp.minimum(x, 0.25),
    "to_int": lambda x: x.astype(jnp.int32),
    "to_int8": lambda x: x.astype(jnp.int8),
    "to_bool": lambda x: x.astype(bool),
    "bfloat16": lambda x: x.astype(jnp.bfloat16).astype(jnp.float32),
    "compare": lambda x: (x < 1) & (x >= -2) | (x == 3) ^ (x != 0),
}
INTEGERS = np.array([*range(-9, 10), 2**31 - 1, -(2**31), 12345, -777], np.int32)
ON_INTEGERS = {
    "divide": lambda x: lax.div(x, jnp.int32(3)),
    "divide by any": lambda x: lax.div(jnp.int32(100), x),
    "remainder": lambda x: lax.rem(x, jnp.int32(4)),
    "remainder by any": lambda x: lax.rem(jnp.int32(100), x),
    "modulo": lambda x: x % 5,
    "floor divide": lambda x: x // 4,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "negative": jnp.negative,
    "bits": lambda x: (x & 6) | (x ^ 3),
    "not": jnp.invert,
    "maximum": lambda x: jnp.maximum(x, 2),
    "unsigned": lambda x: (x.astype(jnp.uint32) // 3).astype(jnp.int32),
    "unsigned compare": lambda x: x.astype(jnp.uint32) > 5,
    "wide": lambda x: (x.astype(jnp.int16) * 3).astype(jnp.int32),
    "to float": lambda x: x.astype(jnp.float32) * 0.5,
}


PAIRS = np.float32(
    [
        *zip(_random.uniform(-4, 4, 300), _random.integers(-5, 6, 300), strict=True),
        *zip(10.0 ** _random.uniform(-20, 20, 300), _random.uniform(-2, 2, 300), strict=True),
        *[(0, 0), (-0.0, 3), (-0.0, -3), (0, -2), (-8, 3), (-8, 1 / 3), (1, np.nan), (np.nan, 0)],
        *[(np.nan, 1), (np.inf, -1), (-np.inf, 3), (-np.inf, 2), (-np.inf, 0.5), (2, np.inf)],
        *[(0.5, np.inf), (-1, np.inf), (0.5, -np.inf), (3, np.nan), (-2, -3), (1, 1e30)],
    ]
).T


def _scan(functions):
    """A scan whose outputs are the functions of its only state; the state shifts by one lane."""

    def run(x):
        def step(state, _):
            return jnp.roll(state, 1), tuple(f(state) for f in functions)

        return lax.scan(step, x, None, length=2)[1]

    return run


def _both(functions, values):
    function = _scan(functions)
    made = running.compiled(running.fused_only(function, [values]))(values)
    return made, running.by_xla(function, [values])


def test_transcendentals_are_within_a_few_ulp_of_float64():
    made, _ = _both([jax_f for jax_f, _, _ in ULPS.values()], REALS)
    with np.errstate(all="ignore"):
        for result, (name, (_, exact, bound)) in zip(made, ULPS.items(), strict=True):
            true = exact(REALS.astype(np.float64))
            rounded = true.astype(np.float32)
            normal = np.isfinite(rounded) & (np.abs(rounded) > 1e-37)
            if name in ("sin", "cos", "tan"):
                normal &= np.abs(REALS) < 1e5
            if name == "tan":
                normal &= np.abs(rounded) < 50
            ulp = np.abs(result[0] - true)[normal] / np.spacing(np.abs(rounded[normal]))
            assert ulp.max() <= bound, (name, ulp.max(), REALS[normal][ulp.argmax()])
            assert (np.isnan(result[0]) == np.isnan(rounded)).all(), name
            infinite = np.isinf(rounded)
            assert (result[0][infinite] == rounded[infinite]).all(), name


def test_the_rest_equals_xla():
    made, expected = _both(list(BY_XLA.values()), REALS)
    for name, a, b in zip(BY_XLA, made, expected, strict=True):
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_integers_follow_the_rules_of_xla():
    made, expected = _both(list(ON_INTEGERS.values()), INTEGERS)
    for name, a, b in zip(ON_INTEGERS, made, expected, strict=True):
        np.testing.assert_array_equal(a.astype(b.dtype), b, err_msg=name)


def test_power_and_remainder_follow_ieee():
    def run(x, y):
        def step(state, _):
            x, y = state
            return (y, x), (lax.pow(x, y), lax.rem(x, y))

        return lax.scan(step, (x, y), None, length=2)[1]

    made = running.compiled(running.fused_only(run, list(PAIRS)))(*PAIRS)
    for a, b in zip(made, running.by_xla(run, list(PAIRS)), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-7)
        assert (np.signbit(a) == np.signbit(b))[~np.isnan(b)].all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_scalars_and_short_vectors(size):
    values = np.float32([0.3, -1.7, 2.5][:size])
    function = _scan([f for f, _, _ in ULPS.values()])
    made = running.compiled(running.fused_only(function, [values]))(values)
    running.assert_close(made, running.by_xla(function, [values]), rtol=2e-6)
