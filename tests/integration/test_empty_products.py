"""Products that sum over no elements, in the loop and outside of it, are zeros."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

W = np.zeros((0, 5), np.float32)


def _in_the_loop(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = jnp.tanh(h + h[:, :0] @ W + v)
        return h, h

    return lax.scan(step, jnp.ones((2, 5)), jnp.swapaxes(x, 0, 1))[1]


def _outside(x: Any) -> Any:
    """No input feature is left, so that all products of the inputs are empty."""

    def step(h: Any, v: Any) -> Any:
        h = jnp.tanh(h + v[:, :0] @ W) + v.sum(1, keepdims=True)
        return h, h

    return lax.scan(step, jnp.ones((2, 5)), jnp.swapaxes(x, 0, 1))[1]


@pytest.mark.parametrize("program", [_in_the_loop, _outside])
@pytest.mark.parametrize("target", ["cpu", "vmvx"])
def test_they_are_zeros(program: Any, target: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    artifact = ri.compile(program, ri.spec("batch=2", "time=4", 5), targets=[target])
    with rt.load(artifact.to_bytes(), device=target) as model:
        np.testing.assert_allclose(model(x), program(jnp.asarray(x)), rtol=1e-5, atol=1e-6)
