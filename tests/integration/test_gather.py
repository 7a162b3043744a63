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


def along_the_last_axis(i: Any) -> Any:
    return jnp.take(jnp.asarray(TABLE), i, axis=1, mode="clip")


def embedding(i: Any) -> Any:
    def step(h: Any, row: Any) -> Any:
        h = jnp.tanh(h + jnp.take(jnp.asarray(TABLE), row, axis=0, mode="clip"))
        return h, h

    rows = lax.scan(step, jnp.zeros((i.shape[0], 3)), jnp.swapaxes(i, 0, 1))[1]
    return jnp.swapaxes(rows, 0, 1)


@pytest.mark.parametrize("dims", [("batch=?", "time=3"), ("batch=?", "time=?")])
def test_any_number_of_indices(dims: tuple[str, str]) -> None:
    """Lookups outside of a loop, and those that capture moves out of one."""

    def program(i: Any) -> Any:
        return [f(i) for f in (clip, fill, along_the_last_axis, embedding)]

    artifact = ri.compile(program, ri.spec(*dims, dtype="int32"), targets=["cpu"])
    made = artifact.report()["targets"][0]["recurrences"]
    assert {each["form"] for each in made} == {"fused kernel"}
    random = np.random.default_rng(0)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for rows, steps in ((1, 3), (4, 3), (7, 3 if "=3" in dims[1] else 11)):
            i = random.integers(-9, 9, (rows, steps), np.int32)
            i[0, 0] = 1000
            for got, want in zip(model(i), program(i), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
