"""Golden vectors: random inputs, and what XLA gives for them by the program as it was written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from recurrent_iree._spec import TIME

from ._background import Call, InBackground
from ._cost import estimate
from ._gradients import COTANGENTS
from ._jaxpr import evaluate
from ._later import Later
from ._program import Program
from ._sensitivity import fair_atol, forgets_rounding
from ._storage import StoredWeights, output_loss
from ._streaming import cut, quick_jit, random_inputs, tolerance

SIZES_OF_ANY = (1, 3, 9)  # as rows: one, fewer than share registers, and more with some left over
ENOUGH = 4 << 20  # bytes: a second call of so many numbers tells nothing new
_MANY_FLOPS = 1e10  # of a call that is not made a second time if fewer steps tell enough
_BRIEF = (128, 32)  # steps that may stand for three times as many


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
    program: Program,
    stored: StoredWeights,
    entry: str,
    chunks: Sequence[int],
    steps: Sequence[int],
    *,
    forward: bool = False,
) -> Sequence[GoldenCase]:
    """Cases that reach every compiled function.

    Args:
        program: the program.
        stored: its weights; where they are rounded, so are those that make the expected outputs,
            and it is told what that changes.
        entry: its default entry.
        chunks: lengths of the pieces in which the default entry runs; empty if it is one function.
        steps: lengths of the functions of the entry ``chunk`` that ``entry`` does not reach.
        forward: whether fewer steps give the first outputs of more, as in a program that streams.
    """
    cases = [(entry, sizes) for sizes in _all_sizes(program, chunks)]
    if steps and program.any_dims and program.dims[TIME] is None:
        steps = (*steps, 4)  # for the function that runs any number of them
    cases += [("chunk", sizes) for step in steps for sizes in _steps(program, step)]
    xla = InBackground(program)

    def start(name: str, sizes: dict[str, int]) -> Future[list[GoldenCase]]:
        brief = _brief(program, sizes) if forward else 0
        fewer = xla.start({**sizes, TIME: brief}, lambda call: call) if brief else None
        return xla.start(sizes, partial(_cases, program, name, sizes, brief, fewer))

    jobs = [start(name, sizes) for name, sizes in cases]
    made = Later(lambda: [case for job in jobs for case in job.result()])
    if not stored.layout.weights:
        return made
    return [_with_rounded_weights(program, stored, case) for case in made]


def gradient_cases(program: Program, entry: str) -> Sequence[GoldenCase]:
    """Cases of the entry ``gradients``, with cotangents so small that no gradient is large.

    A gradient of a weight is a sum over all steps, and one tolerance must fit all outputs.
    """
    xla = InBackground(program)

    def cases(sizes: dict[str, int], call: Call) -> list[GoldenCase]:
        made = []
        for seed in (0, 1):
            case = _case(call, entry, sizes, random_inputs(program, sizes, seed))
            largest = max(map(_largest, case.outputs))
            if largest > 1.0:
                inputs = _scaled(program, case.inputs, 2.0 ** -math.ceil(math.log2(largest)))
                case = _case(call, entry, sizes, inputs)
            made.append(case)
        return made

    jobs = [xla.start(sizes, partial(cases, sizes)) for sizes in program.sizes()]
    return Later(lambda: [case for job in jobs for case in job.result()])


def _cases(
    program: Program,
    entry: str,
    sizes: dict[str, int],
    brief: int,
    fewer: Future[Call] | None,
    call: Call,
) -> list[GoldenCase]:
    """Of other inputs; all may be as far off as a change of last bits takes the first."""
    first = _case(call, entry, sizes, random_inputs(program, sizes, 0))
    atol = first.atol
    if fewer is None or not _tells(program, first, brief, fewer.result()):
        tolerance = first.rtol, first.atol
        atol = fair_atol(call, call.weights, first.inputs, first.outputs, tolerance)
    cases = [first]
    if sum(array.nbytes for array in (*first.inputs, *first.outputs)) < ENOUGH:
        cases.append(_case(call, entry, sizes, random_inputs(program, sizes, 1)))
    return [replace(case, atol=atol) for case in cases]


def _brief(program: Program, sizes: Mapping[str, int]) -> int:
    """How many steps may tell what the steps of `sizes` do to rounding; 0 if all must."""
    brief = next((n for n in _BRIEF if 3 * n <= sizes.get(TIME, 0)), 0)
    if not brief or program.any_dims or estimate(program.trace(sizes).jaxpr)["flops"] < _MANY_FLOPS:
        return 0
    return brief


def _tells(program: Program, whole: GoldenCase, brief: int, call: Call) -> bool:
    """Whether the first steps of a case, which `call` runs, tell that it forgets rounding."""
    axes = [_time_axis(y.shape, s) for y, s in zip(whole.outputs, call.shapes, strict=True)]
    outputs = [
        y if axis is None else np.take(y, range(brief), axis)
        for axis, y in zip(axes, whole.outputs, strict=True)
    ]
    inputs = cut(program, whole.inputs, 0, brief)
    steps, tolerance = whole.dims[TIME], (whole.rtol, whole.atol)
    return forgets_rounding(call, call.weights, inputs, outputs, axes, steps, tolerance)


def _time_axis(shape: tuple[int, ...], fewer: tuple[int, ...]) -> int | None:
    """The one axis that is shorter in a call of fewer steps."""
    axes = [i for i, (a, b) in enumerate(zip(shape, fewer, strict=True)) if a != b]
    return axes[0] if len(axes) == 1 else None


def _largest(value: Any) -> float:
    array = np.abs(np.asarray(value).astype(np.complex128))
    return float(np.max(array[np.isfinite(array)], initial=0.0))


def _scaled(program: Program, inputs: list[np.ndarray], scale: float) -> list[np.ndarray]:
    return [
        (value * scale).astype(value.dtype) if name.split("/")[0] == COTANGENTS else value
        for name, value in zip(program.names, inputs, strict=True)
    ]


def _case(call: Call, entry: str, sizes: dict[str, int], inputs: list[np.ndarray]) -> GoldenCase:
    outputs = call(call.weights, inputs)
    return GoldenCase(entry, sizes, inputs, outputs, *_loosest(outputs))


def _with_rounded_weights(program: Program, stored: StoredWeights, case: GoldenCase) -> GoldenCase:
    """`case` with the outputs of the rounded weights; their distance goes to `stored.loss`."""
    trace, weights = program.trace(case.dims), stored.seen()
    bound = trace.bind(weights)
    arguments = [*(weights[name] for name in trace.weight_names), *case.inputs]
    run = quick_jit(lambda consts, args: evaluate(ClosedJaxpr(bound.jaxpr, consts), args, {}))
    outputs = [np.asarray(value) for value in run(bound.consts, arguments)]
    call = {"entry": case.entry, **case.dims}
    for number, (exact, rounded) in enumerate(zip(case.outputs, outputs, strict=True)):
        stored.loss.append(output_loss(f"output{number}", exact, rounded, call))
    return replace(case, outputs=outputs)


def _all_sizes(program: Program, chunks: Sequence[int]) -> list[dict[str, int]]:
    if chunks:
        times = sorted({1, sum(chunks), 2 * max(chunks)})
        return [sizes for time in times for sizes in program.sizes(time=time)]
    unbound = [name for name, sizes in program.dims.items() if sizes is None]
    if unbound:
        turns = [SIZES_OF_ANY[n:] + SIZES_OF_ANY[:n] for n in range(len(SIZES_OF_ANY))]
        return [
            {**sizes, **dict(zip(unbound, turn, strict=False))}
            for turn in turns
            for sizes in program.sizes()
        ]
    return list(program.sizes())


def _steps(program: Program, step: int) -> list[dict[str, int]]:
    rows = [dict.fromkeys(program.any_dims, n) for n in SIZES_OF_ANY if program.any_dims or n == 1]
    return [{**sizes, **some} for sizes in program.sizes(time=step) for some in rows]


def _loosest(outputs: list[Any]) -> tuple[float, float]:
    pairs = [tolerance(value.dtype) for value in outputs] or [(0.0, 0.0)]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)
