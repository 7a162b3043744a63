"""`Recurrent(use_tpu=True)`: a loop that ends early, which only XLA can run."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
SPECS = (ri.spec(6, 3), ri.spec(dtype="int32"))


def program(use_tpu: bool) -> Any:
    def run(x: Any, length: Any) -> Any:
        return ri.Recurrent(
            jnp.float32(0.5),
            jnp.zeros(3),
            x,
            lambda theta, state, x: (jnp.tanh(theta * state + x), ()),
            max_input_length=length,
            use_tpu=use_tpu,
        )

    return run


def check(artifact: Any, device: str) -> None:
    with rt.load(artifact.to_bytes(), device=device) as model:
        for length in (0, 2, 6):
            want = program(False)(X, jnp.int32(length))
            for one, other in zip(model(X, np.int32(length)), want, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_it_compiles_for_xla_only() -> None:
    check(ri.compile(program(True), *SPECS, targets=["xla"]), "xla")
    message = r"while loop ends on a condition that depends on data.*compile for the target \"xla\""
    with pytest.raises(ri.UnsupportedError, match=message):
        ri.compile(program(True), *SPECS, targets=["cpu"])


def test_without_it_every_target_can() -> None:
    check(ri.compile(program(False), *SPECS, targets=["cpu"]), "cpu")
