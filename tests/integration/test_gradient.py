"""The gradient of `Recurrent` as a compiled program: its backward loop runs on the device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_iree as ri
import recurrent_iree_runtime as rt


def cell(theta: Any, state: Any, x: Any) -> tuple[Any, Any]:
    return {"h": jnp.tanh(state["h"] @ theta + x), "n": state["n"] + 1}, ()


def loss(theta: Any, x: Any) -> Any:
    start = {"h": jnp.zeros((2, 3)), "n": jnp.int32(0)}
    return (ri.Recurrent(theta, start, x, cell)[0]["h"] ** 2).sum()


def test_a_compiled_gradient() -> None:
    gradient = jax.grad(loss, (0, 1))
    artifact = ri.compile(gradient, ri.spec(3, 3), ri.spec(6, 2, 3), targets=["cpu"])
    random = np.random.default_rng(0)
    theta, x = (random.normal(size=s).astype(np.float32) * 0.5 for s in ((3, 3), (6, 2, 3)))
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for got, want in zip(model(theta, x), gradient(theta, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
