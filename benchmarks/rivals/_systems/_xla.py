"""XLA for CPUs: `jax.jit` of the program that we compile."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.rivals._cells import CELLS, inputs_of, weights_of
from benchmarks.rivals._jax_programs import gradients, program, step_program
from benchmarks.rivals._work import Work

from ._base import CHECKED_STEPS, System, Variant, flat, streamed


class Xla(System):
    """As written, and with the projection of the inputs taken out of the loop by hand."""

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "jaxlib": version("jaxlib")}

    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        weights = jax.tree.map(jnp.asarray, weights_of(work))
        inputs = [jnp.asarray(x) for x in inputs_of(work)]
        if work.kind == "step":
            return {"jit": _step(work, weights, inputs[0])}
        make = gradients if work.kind == "gradients" else program
        forms = {"jit": make(work)}
        if work.cell != "decoder":
            forms["jit, hoisted"] = make(work, hoisted=True)
        to_array = flat if work.kind == "gradients" else np.asarray
        return {name: _variant(f, weights, inputs, to_array) for name, f in forms.items()}


def _variant(
    function: Callable[..., Any], weights: Any, inputs: list[Any], to_array: Any
) -> Variant:
    compiled = jax.jit(function).lower(weights, *inputs).compile()

    def run() -> Any:
        return jax.block_until_ready(compiled(weights, *inputs))

    return Variant(run, lambda: to_array(run()))


def _step(work: Work, weights: Any, x: Any) -> Variant:
    zeros = [jnp.zeros((work.batch, work.width))] * CELLS[work.cell].states
    x = x[:, 0]
    compiled = jax.jit(step_program(work)).lower(weights, zeros, x).compile()
    states = zeros

    def run() -> Any:
        nonlocal states
        states, output = compiled(weights, states, x)
        return jax.block_until_ready(output)

    def check() -> np.ndarray:
        nonlocal states
        states = zeros
        return streamed([run() for _ in range(CHECKED_STEPS)])

    return Variant(run, check)


def make(threads: int) -> System:
    return Xla(threads)
