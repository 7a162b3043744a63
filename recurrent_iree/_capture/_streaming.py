"""Deriving a streaming program from a program over whole sequences.

A program can be streamed if its loops along time run forward from a start that does not depend on
the inputs, and everything else treats each time step by itself. Then it can be called for a piece
of the sequence, with the carries of its loops passed in and out. The first half is read off the
trace; the second half is measured, by comparing the whole with pieces on random inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Var

from recurrent_iree._spec import TIME
from recurrent_iree_runtime import GOLDEN_PERIOD, RecurrentIreeError

from ._jaxpr import bind, dependent_variables, evaluate
from ._program import Program, Trace
from ._scan import lower_scan

LENGTHS = (3, 5)
CUTS = (3, 1, 1)  # of the longer one; each length costs a trace, each call of another form XLA


@dataclass(frozen=True)
class Streaming:
    """Which loops carry the state of a stream.

    Attributes:
        loops: positions of the time loops among the loops of the top level.
        reason: why the program cannot be streamed; empty if it can.
    """

    loops: tuple[int, ...]
    reason: str = ""


def find_streaming(program: Program) -> Streaming:
    """Decide whether `program` can be streamed, and by which loops."""
    if TIME not in program.dims:
        return Streaming((), 'no input has a dim called "time"')
    sizes = next(iter(program.sizes(time=0)))
    sizes.update(dict.fromkeys(program.any_dims, 3))
    try:
        traces = [program.trace({**sizes, TIME: t}) for t in LENGTHS]
    except (TypeError, ValueError, IndexError, RecurrentIreeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Streaming((), f"it cannot be traced for other lengths than the given ones: {first}")
    loops, reason = _time_loops(*traces)
    if reason:
        return Streaming((), reason)
    return Streaming(loops, _differs_in_pieces(program, loops, sizes))


def _time_loops(short: Trace, long: Trace) -> tuple[tuple[int, ...], str]:
    if len(short.scans) != len(long.scans):
        return (), "the number of its loops depends on the length of time (an unrolled loop?)"
    lengths = [
        (a.params["length"], b.params["length"])
        for a, b in zip(short.scans, long.scans, strict=True)
    ]
    loops = tuple(i for i, pair in enumerate(lengths) if pair == LENGTHS)
    if any(pair != LENGTHS and pair[0] != pair[1] for pair in lengths):
        return (), "a loop runs a number of steps that is not the length of time"
    inputs = short.jaxpr.jaxpr.invars[len(short.weight_names) :]
    marked = dependent_variables(short.jaxpr.jaxpr, inputs)
    for index in loops:
        eqn = short.scans[index]
        if eqn.params["reverse"]:
            return (), "a loop runs backwards in time"
        if any(isinstance(a, Var) and a in marked for a in _init(eqn, eqn.invars)):
            return (), "the start of a loop depends on the inputs"
    return loops, ""


def _init(eqn: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    start = eqn.params["num_consts"]
    return list(values[start : start + eqn.params["num_carry"]])


def run_piece(
    jaxpr: ClosedJaxpr,
    args: Sequence[Any],
    loops: Sequence[int],
    states: Sequence[Any] | None,
    *,
    marked: bool,
) -> tuple[list[Any], list[Any]]:
    """Evaluate `jaxpr` with the carries of `loops` starting from `states`.

    `states` is ``None`` for the start of the stream. Returns the results and the new states.
    """
    position = iter(range(len(jaxpr.jaxpr.eqns)))
    remaining = None if states is None else list(states)
    after: list[Any] = []

    def on_scan(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
        if next(position) not in loops:
            return lower_scan(eqn, values, marked=marked)
        count = eqn.params["num_carry"]
        if remaining is not None:
            start = eqn.params["num_consts"]
            values[start : start + count] = remaining[:count]
            del remaining[:count]
        results = lower_scan(eqn, values, marked=marked)
        after.extend(results[:count])
        return results

    return evaluate(jaxpr, args, {"scan": on_scan}), after


def initial_states(jaxpr: ClosedJaxpr, args: Sequence[Any], loops: Sequence[int]) -> list[Any]:
    """The carries with which `loops` of `jaxpr` start."""

    def run(*args: Any) -> list[Any]:
        position = iter(range(len(jaxpr.jaxpr.eqns)))
        states: list[Any] = []

        def on_scan(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
            if next(position) in loops:
                states.extend(_init(eqn, values))
            return bind(eqn, values)

        evaluate(jaxpr, args, {"scan": on_scan})
        return states

    # Evaluated again, so that the loops, of which nothing is needed, are left out.
    return evaluate(jax.make_jaxpr(run)(*args), args, {})


def _differs_in_pieces(program: Program, loops: tuple[int, ...], sizes: Mapping[str, int]) -> str:
    """Why calls for pieces of a sequence do not give the whole; empty if they do."""
    total = sum(CUTS)
    inputs = random_inputs(program, {**sizes, TIME: total}, seed=1)
    whole = _jit(program, {**sizes, TIME: total}, loops)(program.weights, inputs, None)[0]
    runs = {length: _jit(program, {**sizes, TIME: length}, loops) for length in set(CUTS)}
    pieces, start = [], 0
    states: Any = None
    for length in CUTS:
        part = cut(program, inputs, start, length)
        outputs, states = runs[length](program.weights, part, states)
        pieces.append(outputs)
        start += length
    for index, want in enumerate(whole):
        got = [np.asarray(piece[index]) for piece in pieces]
        if not _same(np.asarray(want), got, total):
            return (
                f"output {index} is not the same when the sequence is cut into pieces: "
                "something other than a forward loop mixes time steps"
            )
    return ""


def _jit(program: Program, sizes: Mapping[str, int], loops: Sequence[int]) -> Any:
    trace = program.trace(sizes)

    def run(weights: Any, inputs: Any, states: Any) -> Any:
        args = [*(weights[n] for n in trace.weight_names), *inputs]
        return run_piece(trace.bind(weights), args, loops, states, marked=False)

    return quick_jit(run)


# Without MLIR's emitters XLA compiles small loops in a third of the time.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled by XLA with little effort: it runs a few times on small inputs."""
    return jax.jit(function, compiler_options=_QUICK)


def cut(program: Program, inputs: list[Any], start: int, length: int) -> list[Any]:
    """`length` steps of the inputs that have an axis of time; the others whole."""
    result = []
    for given, value in zip(program.specs, inputs, strict=True):
        axis = given.time_axis
        if axis is not None:
            value = np.take(value, range(start, start + length), axis=axis)
        result.append(value)
    return result


def _same(whole: np.ndarray, pieces: list[np.ndarray], total: int) -> bool:
    if pieces[-1].shape == whole.shape:
        joined = pieces[-1]
    else:
        axes = [i for i, size in enumerate(whole.shape) if size == total]
        if not axes or any(p.ndim != whole.ndim for p in pieces):
            return False
        shapes = [axis for axis in axes if _joins(pieces, whole.shape, axis)]
        if not shapes:
            return False
        joined = np.concatenate(pieces, axis=shapes[0])
    if not jnp.issubdtype(whole.dtype, np.inexact):
        return bool(np.array_equal(joined, whole))
    rtol, atol = tolerance(whole.dtype)
    wide = np.complex128 if jnp.issubdtype(whole.dtype, np.complexfloating) else np.float64
    return bool(np.allclose(joined.astype(wide), whole.astype(wide), rtol, atol, equal_nan=True))


def tolerance(dtype: Any) -> tuple[float, float]:
    """Relative and absolute tolerance between two right evaluations in `dtype`."""
    bits = jnp.finfo(dtype).bits if jnp.issubdtype(dtype, np.inexact) else 0
    return {0: (0.0, 0.0), 64: (1e-9, 1e-9), 32: (1e-4, 2e-5)}.get(bits, (3e-2, 3e-2))


def _joins(pieces: list[np.ndarray], shape: tuple[int, ...], axis: int) -> bool:
    rest = shape[:axis] + shape[axis + 1 :]
    return all(
        p.shape[axis] == length and p.shape[:axis] + p.shape[axis + 1 :] == rest
        for p, length in zip(pieces, CUTS, strict=True)
    )


def random_inputs(program: Program, sizes: Mapping[str, int], seed: int) -> list[np.ndarray]:
    """Random arrays for the inputs of `program`: normal, small counts, or coin flips.

    Long ones repeat themselves, so that an artifact need not store all of them.
    """
    rng = np.random.default_rng(seed)
    return [_random_or_repeated(rng, a.shape, a.dtype) for a in program.input_avals(sizes)]


def _random_or_repeated(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if math.prod(shape) <= GOLDEN_PERIOD:
        return _random(rng, shape, dtype)
    return np.resize(_random(rng, (GOLDEN_PERIOD,), dtype), shape)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if dtype == np.bool_:
        return rng.random(shape) < 0.7
    if jnp.issubdtype(dtype, np.integer):
        return rng.integers(0, 8, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)
