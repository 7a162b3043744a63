"""Dims of any size in programs without loops."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt

W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
SPEC = ri.spec("batch=?", 3)


def dense(x: Any) -> Any:
    return jnp.tanh(x @ W)


def dense_with_bias(x: Any) -> Any:
    return x @ W + jnp.arange(4.0)


def softmax(x: Any) -> Any:
    return jax.nn.softmax(jnp.stack([x @ W, x @ W + 1], axis=1))


def test_an_axis_of_any_size_is_not_repeated() -> None:
    artifact = ri.compile(softmax, SPEC, targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in (1, 6):
            x = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
            np.testing.assert_allclose(model(x), softmax(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "target",
    ["cpu", pytest.param("vulkan:llvmpipe", marks=pytest.mark.vulkan), "vmvx", "xla"],
)
@pytest.mark.parametrize("program", [dense, dense_with_bias])
def test_a_batch_of_any_size_without_a_loop(program: Any, target: str) -> None:
    artifact = ri.compile(program, SPEC, targets=[target])
    with rt.load(artifact.to_bytes(), device=target.split(":")[0]) as model:
        for batch in (1, 2, 6):
            x = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
            np.testing.assert_allclose(model(x), program(x), rtol=1e-5, atol=1e-6)
