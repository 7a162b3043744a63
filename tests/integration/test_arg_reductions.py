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
