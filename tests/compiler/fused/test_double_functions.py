"""Functions of kernels in float64: against extended precision, and at their edges."""

import decimal
import re
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

EXTENDED = np.finfo(np.longdouble).nmant > 52
extended = pytest.mark.skipif(not EXTENDED, reason="NumPy has no extended precision here")
_ROOT_OF_PI = Decimal(
    "1.7724538509055160272981674833411451827975494561223871282138077898529112845910321813749506567"
)
_random = np.random.default_rng(8)
EDGES = [0, 1, 2, 0.5, 3, 1 / 3, 2.5, 2.0**53, 2.0**53 - 1, 1e300, 1 + 2**-52, 1 - 2**-53]
EDGES = np.array([*EDGES, *(-x for x in EDGES), -0.0, np.inf, -np.inf, np.nan, 1.7e308, 2.3e-308])
GRID = [v.ravel() for v in np.meshgrid(EDGES, EDGES)]
ANGLES = np.concatenate(
    [
        _random.uniform(-9, 9, 1000),
        _random.uniform(-(2.0**20), 2.0**20, 1000),
        10.0 ** _random.uniform(-300, 308, 1000),
        np.arange(-300, 300) * np.pi / 2,
        2.0 ** np.arange(900) * np.pi,
        # The double that is nearest to a multiple of pi/2, and the ends of the usual way.
        [6381956970095103 * 2.0**797, 2.0**20, np.nextafter(2.0**20, np.inf), -1e22],
        EDGES,
    ]
)
BASES = np.concatenate(
    [
        np.exp2(_random.uniform(-1, 1, 1000)),
        10.0 ** _random.uniform(-300, 300, 1000),
        1 + _random.uniform(-1e-3, 1e-3, 500),
        -_random.uniform(0, 40, 500),
    ]
)
EXPONENTS = np.concatenate(
    [
        _random.uniform(-1000, 1000, 1000),
        _random.uniform(-1.02, 1.02, 1000),
        _random.uniform(-6e5, 6e5, 500),
        _random.integers(-99, 99, 500),
    ]
)
POINTS = np.concatenate(
    [_random.standard_normal((2, 1000)), 10.0 ** _random.uniform(-150, 150, (2, 1000))], axis=1
)
OF_ONE = {
    "sin": (jnp.sin, np.sin, 1),
    "cos": (jnp.cos, np.cos, 1),
    "tan": (jnp.tan, np.tan, 2.5),
    "cbrt": (jnp.cbrt, np.cbrt, 1),
    "atan": (jnp.arctan, np.arctan, 2),
}
OF_TWO = {
    "power": (lax.pow, np.power, 2),
    "atan2": (jnp.arctan2, np.arctan2, 2),
    "remainder": (lax.rem, np.fmod, 0),
}


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


def _made(functions, *arrays):
    """What the kernel gives for each of `functions`."""

    def run(*arrays):
        def step(state, _):
            return tuple(jnp.roll(a, 1) for a in state), tuple(f(*state) for f in functions)

        return lax.scan(step, arrays, None, length=2)[1]

    results = running.compiled(running.fused_only(run, list(arrays)))(*arrays)
    return [result[0] for result in results]


def _assert_ulps(name, made, true, bound):
    rounded = true.astype(made.dtype)
    info = np.finfo(made.dtype)
    normal = np.isfinite(rounded) & (np.abs(rounded) >= info.tiny)
    ulp = np.abs(made - true)[normal] / np.spacing(np.abs(rounded[normal]))
    assert ulp.max(initial=0) <= bound, (name, ulp.max(), np.flatnonzero(normal)[ulp.argmax()])
    np.testing.assert_array_equal(np.isnan(made), np.isnan(rounded), err_msg=name)
    known = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(made)[known], np.signbit(rounded)[known], err_msg=name)
    rest = known & ~normal
    np.testing.assert_allclose(made[rest], rounded[rest], rtol=0, atol=info.tiny, err_msg=name)


@extended
def test_functions_of_one_number():
    made = _made([f for f, _, _ in OF_ONE.values()], ANGLES)
    with np.errstate(all="ignore"):
        for result, (name, (_, exact, bound)) in zip(made, OF_ONE.items(), strict=True):
            assert result.dtype == np.float64
            _assert_ulps(name, result, exact(ANGLES.astype(np.longdouble)), bound)


@extended
def test_functions_of_two_numbers():
    x = np.concatenate([BASES, POINTS[0], GRID[0]])
    y = np.concatenate([EXPONENTS, POINTS[1], GRID[1]])
    made = _made([f for f, _, _ in OF_TWO.values()], x, y)
    with np.errstate(all="ignore"):
        for result, (name, (_, exact, bound)) in zip(made, OF_TWO.items(), strict=True):
            true = exact(x.astype(np.longdouble), y.astype(np.longdouble))
            _assert_ulps(name, result, true, bound)


def test_arctangent_and_cube_root_of_float32_round_once():
    with np.errstate(over="ignore", under="ignore"):
        values = np.concatenate([POINTS, np.stack(GRID)], axis=1).astype(np.float32)
    values[np.abs(values) < np.finfo(np.float32).tiny] = 0  # as kernels see subnormal numbers
    angle, root = _made([jnp.arctan2, lambda x, _: jnp.cbrt(x)], *values)
    assert angle.dtype == root.dtype == np.float32
    with np.errstate(all="ignore"):
        wide = values.astype(np.float64)
        _assert_ulps("atan2", angle, np.arctan2(*wide), 0.51)
        _assert_ulps("cbrt", root, np.cbrt(wide[0]), 0.51)


def _erf(x):
    """The error function of a number in 80 digits."""
    with decimal.localcontext(prec=80):
        square, term = -(Decimal(x) ** 2), Decimal(x)
        total, n = term, 0
        while abs(term) > Decimal(10) ** -60:
            n += 1
            term *= square / n
            total += term / (2 * n + 1)
        return 2 * total / _ROOT_OF_PI


def test_erf_that_is_no_formula():
    """JAX gives a formula; other programs may have the operation."""
    values = np.concatenate(
        [_random.uniform(-1.2, 1.2, 300), _random.uniform(-7, 7, 300), [1e-300, 1, 5.9, 6, -1e9]]
    )
    made = running.captured(
        lambda x: lax.scan(lambda s, _: (jnp.roll(s, 1), jnp.tanh(s)), x, None, length=2)[1],
        [values],
    )
    text, count = re.subn(r"stablehlo\.tanh (%\w+) : (\S+)", r"chlo.erf \1 : \2 -> \2", str(made))
    assert count
    result = running.compiled(running.fused_text(text))(values)[0][0]
    true = np.array([float(_erf(np.clip(v, -7, 7))) for v in values])
    np.testing.assert_array_less(np.abs(result - true), 2 * np.spacing(np.abs(true)))
    edges = np.resize([np.nan, np.inf, -np.inf, 0.0, -0.0], values.shape)
    result = running.compiled(running.fused_text(text))(edges)[0][0]
    np.testing.assert_array_equal(result[:5], [np.nan, 1, -1, 0, -0.0])
    assert np.signbit(result[4])


@pytest.mark.parametrize("size", [1, 3])
def test_scalars_and_short_vectors(size):
    values = np.array([0.3, -1e200, 2.5e7][-size:]), np.array([1.5, 2.0, -0.5][-size:])
    functions = [*(lambda x, _, f=f: f(x) for f, _, _ in OF_ONE.values())]
    functions += [f for f, _, _ in OF_TWO.values()]
    exact = [*(lambda x, _, f=f: f(x) for _, f, _ in OF_ONE.values())]
    exact += [f for _, f, _ in OF_TWO.values()]
    with np.errstate(all="ignore"):
        for made, f in zip(_made(functions, *values), exact, strict=True):
            np.testing.assert_allclose(made, f(*values), rtol=4e-16)
