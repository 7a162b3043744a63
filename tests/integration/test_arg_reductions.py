"""Outputs that are an argmax, batch first: what a decoder gives."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

WEIGHTS = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)


def words(x):
    def step(h, v):
        h = jnp.tanh(h @ WEIGHTS + v)
        return h, (jnp.argmax(v, -1), jnp.argmin(h * v, -1))

    best, least = lax.scan(step, jnp.zeros((5, 8)), jnp.swapaxes(x, 0, 1))[1]
    return jnp.swapaxes(best, 0, 1), jnp.swapaxes(least, 0, 1)


def only_the_last(x):
    return jnp.swapaxes(jnp.argmax(x, -1), 0, 1)


@pytest.mark.parametrize("program", [words, only_the_last])
@pytest.mark.parametrize("target", ["cpu", pytest.param("vulkan", marks=pytest.mark.vulkan)])
def test_an_argmax_may_be_transposed(program, target):
    artifact = ri.compile(program, ri.spec("batch=5", "time=3", 8), targets=[target])
    x = np.random.default_rng(1).standard_normal((5, 3, 8)).astype(np.float32)
    with rt.load(artifact.to_bytes(), device=target) as model:
        for got, want in zip(np.atleast_1d(model(x)), np.atleast_1d(program(x)), strict=True):
            np.testing.assert_array_equal(got, want)


def lowest(x):
    return jnp.swapaxes(jnp.argmin(x.astype(jnp.int16), -1), 0, 1)


@pytest.mark.parametrize("program", [only_the_last, lowest])
def test_an_argmax_of_any_number_of_rows_may_be_transposed(program):
    """There, no barrier stands behind it: NaN and infinity count, and the first of equals."""
    artifact = ri.compile(program, ri.spec("batch=?", 3, 8), targets=["cpu"])
    for rows in (1, 4, 7):
        x = np.random.default_rng(rows).standard_normal((rows, 3, 8)).astype(np.float32) * 3
        if program is only_the_last:
            x[0, 0, 3:5], x[0, 1, 2], x[rows - 1, 2] = np.nan, np.inf, -1
        with rt.load(artifact.to_bytes(), device="cpu") as model:
            np.testing.assert_array_equal(model(x), program(x))


def test_a_loop_over_any_number_of_rows_may_end_in_an_argmax():
    def program(x):
        h, ys = lax.scan(
            lambda h, v: (jnp.tanh(h + v), jnp.tanh(h * v)),
            jnp.zeros((x.shape[0], 8)),
            jnp.swapaxes(x, 0, 1),
        )
        return h, jnp.swapaxes(jnp.argmax(ys, -1), 0, 1)

    artifact = ri.compile(program, ri.spec("batch=?", "time=3", 8), targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for rows in (1, 6):
            x = np.random.default_rng(rows).standard_normal((rows, 3, 8)).astype(np.float32)
            h, words = model(x)
            expected = program(x)
            np.testing.assert_allclose(h, expected[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(words, expected[1])
