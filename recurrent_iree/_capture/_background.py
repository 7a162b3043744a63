"""XLA compiles and runs a program on other threads, while this one goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np

from ._cost import estimate
from ._program import Program
from ._streaming import quick_jit

T = TypeVar("T")
_WORTH_EFFORT = 2e9  # of one call: what XLA needs to make a few such calls quicker is soon regained
_MORE_EFFORT = {"xla_backend_optimization_level": 1}


class Call:
    """A program for one choice of sizes: weights and inputs to its outputs, in NumPy.

    Attributes:
        weights: those of the program.
        shapes: the shapes of the outputs.
    """

    def __init__(self, lowered: Any, weights: Mapping[str, np.ndarray], flops: float) -> None:
        self.weights = weights
        self.shapes = [tuple(value.shape) for value in jax.tree.leaves(lowered.out_info)]
        self._run = lowered.compile(_MORE_EFFORT if flops > _WORTH_EFFORT else None)

    def __call__(self, weights: Mapping[str, Any], inputs: Sequence[Any]) -> list[np.ndarray]:
        """The outputs; weights are converted to the dtypes of those of the program."""
        typed = {name: np.asarray(weights[name], w.dtype) for name, w in self.weights.items()}
        return [np.asarray(value) for value in self._run(typed, list(inputs))]


class InBackground:
    """Work on the outputs of `program` for some choices of sizes, on two threads.

    Tracing is done at once, as JAX is set on this thread. Of the settings that belong to a thread
    the rest depends on ``enable_x64`` alone.
    """

    def __init__(self, program: Program) -> None:
        self._program, self._weights = program, dict(program.weights)
        self._call: Any = quick_jit(lambda w, inputs: jax.tree.leaves(program.call(w, inputs)))
        self._compiled: dict[tuple[Any, ...], Future[Call]] = {}
        self._pool = ThreadPoolExecutor(2)

    def start(self, sizes: Mapping[str, int], work: Callable[[Call], T]) -> Future[T]:
        """What `work` returns for the program of these sizes."""
        wide, key = jax.config.jax_enable_x64, tuple(sizes.items())  # pyright: ignore

        def run(step: Callable[[], Any]) -> Any:
            with jax.enable_x64(wide):
                return step()

        if key not in self._compiled:
            traced = self._call.trace(self._weights, self._program.input_avals(sizes))
            flops = estimate(traced.jaxpr)["flops"]
            compiling = partial(Call, traced.lower(), self._weights, flops)
            self._compiled[key] = self._pool.submit(run, compiling)
        compiled = self._compiled[key]  # it has begun before what waits for it
        return self._pool.submit(run, lambda: work(compiled.result()))
