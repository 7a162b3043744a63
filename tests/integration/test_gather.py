"""Indices out of range give what JAX gives; stock IREE reads outside of the array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

TABLE = np.arange(15, dtype=np.float32).reshape(5, 3)
INDICES = np.array([[-9, -1, 0], [4, 5, 1000]], np.int32)


def clip(i: Any) -> Any:
    return jnp.take(jnp.asarray(TABLE), i, axis=0, mode="clip")


def fill(i: Any) -> Any:
    return jnp.asarray(TABLE).at[i].get(mode="fill", fill_value=-1.0)


def two_axes(i: Any) -> Any:
    return jnp.asarray(TABLE).at[i[0], i[1]].get(mode="clip")


def window(i: Any) -> Any:
    return jax.vmap(lambda k: lax.dynamic_slice(jnp.asarray(TABLE), (k, 0), (2, 3)))(i[1])


def in_a_loop(i: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        h = jnp.tanh(h + jnp.take(jnp.asarray(TABLE), row, axis=0, mode="clip").sum(0))
        return h, h

    return lax.scan(step, jnp.zeros(3), i)[1]


@pytest.mark.parametrize("target", ["cpu", pytest.param("vulkan", marks=pytest.mark.vulkan)])
def test_indices_out_of_range(target: str) -> None:
    def program(i: Any) -> Any:
        return [f(i) for f in (clip, fill, two_axes, window, in_a_loop)]

    artifact = ri.compile(program, ri.spec(2, 3, dtype="int32"), targets=[target])
    with rt.load(artifact.to_bytes(), device=target) as model:
        for got, want in zip(model(INDICES), program(INDICES), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
