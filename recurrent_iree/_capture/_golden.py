"""Golden vectors: random inputs, and what XLA gives for them by the program as it was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ._program import Program
from ._streaming import quick_jit, random_inputs, tolerance

SIZES_OF_ANY = (1, 2, 5)


@dataclass(frozen=True)
class GoldenCase:
    """One call: the inputs, the outputs, and how far another evaluation may be off."""

    entry: str
    dims: dict[str, int]
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float


def golden_cases(
    program: Program, entry: str, chunks: Sequence[int], steps: Sequence[int]
) -> list[GoldenCase]:
    """Cases that reach every compiled function.

    Args:
        program: the program.
        entry: its default entry.
        chunks: lengths of the pieces in which the default entry runs; empty if it is one function.
        steps: lengths of the functions of the entry ``chunk`` that ``entry`` does not reach.
    """
    cases = [(entry, sizes) for sizes in _all_sizes(program, chunks)]
    cases += [("chunk", sizes) for step in steps for sizes in program.sizes(time=step)]
    call = quick_jit(lambda weights, inputs: jax.tree.leaves(program.call(weights, inputs)))
    return [_case(program, call, name, sizes, seed) for name, sizes in cases for seed in (0, 1)]


def _case(
    program: Program, call: Callable[..., Any], entry: str, sizes: dict[str, int], seed: int
) -> GoldenCase:
    inputs = random_inputs(program, sizes, seed)
    outputs = [np.asarray(value) for value in call(program.weights, inputs)]
    return GoldenCase(entry, sizes, inputs, outputs, *_loosest(outputs))


def _all_sizes(program: Program, chunks: Sequence[int]) -> list[dict[str, int]]:
    if chunks:
        times = sorted({1, sum(chunks), 2 * max(chunks)})
        return [sizes for time in times for sizes in program.sizes(time=time)]
    unbound = [name for name, sizes in program.dims.items() if sizes is None]
    if unbound:
        return [
            {**sizes, **dict.fromkeys(unbound, size)}
            for size in SIZES_OF_ANY
            for sizes in program.sizes()
        ]
    return list(program.sizes())


def _loosest(outputs: list[Any]) -> tuple[float, float]:
    pairs = [tolerance(value.dtype) for value in outputs] or [(0.0, 0.0)]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)
