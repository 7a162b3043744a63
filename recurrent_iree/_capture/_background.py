"""XLA compiles and runs a program on other threads, while this one goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

from ._program import Program
from ._streaming import quick_jit

T = TypeVar("T")


class Call:
    """A program for one choice of sizes: weights and inputs to its outputs, in NumPy.

    Of the settings of JAX that are those of a thread, a call depends on ``enable_x64``.
    """

    def __init__(self, lowered: Any, weights: Mapping[str, np.ndarray], wide: bool) -> None:
        self.weights = weights
        self._run, self._wide = lowered.compile(), wide

    def __call__(self, weights: Mapping[str, Any], inputs: Sequence[Any]) -> list[np.ndarray]:
        """The outputs; weights and inputs are converted to the dtypes of those of the program."""
        typed = {name: np.asarray(weights[name], w.dtype) for name, w in self.weights.items()}
        with jax.enable_x64(self._wide):
            return [np.asarray(value) for value in self._run(typed, list(inputs))]


class InBackground:
    """Work on the outputs of `program`. Tracing is done at once, as JAX is set on this thread."""

    def __init__(self, program: Program) -> None:
        self._program, self._weights = program, dict(program.weights)
        self._wide = jax.config.jax_enable_x64  # pyright: ignore
        self._call: Any = quick_jit(lambda w, inputs: jax.tree.leaves(program.call(w, inputs)))
        self._compiled: dict[tuple[Any, ...], Future[Call]] = {}

    def start(self, sizes: Mapping[str, int], work: Callable[[Call], T]) -> Future[T]:
        """What `work` returns for the program of these sizes."""
        pool, key = ThreadPoolExecutor(1), tuple(sizes.items())
        if key not in self._compiled:
            lowered = self._call.lower(self._weights, self._program.input_avals(sizes))
            self._compiled[key] = pool.submit(Call, lowered, self._weights, self._wide)
        compiled = self._compiled[key]
        done = pool.submit(lambda: work(compiled.result()))
        pool.shutdown(wait=False)
        return done
