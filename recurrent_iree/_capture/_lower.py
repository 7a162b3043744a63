"""Lowering: each entry of the program, for each choice of sizes, as StableHLO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import Literal

from recurrent_iree._spec import TIME
from recurrent_iree_runtime import UnsupportedError

from ._cost import estimate
from ._program import Program, Trace
from ._storage import StoredWeights
from ._streaming import Streaming, initial_states, run_piece

XLA_PLATFORMS = ("cpu", "cuda", "tpu")

Compute = Callable[[Any, list[Any], list[Any], bool], tuple[list[Any], list[Any]]]
"""Of weights, inputs, states, and whether to mark recurrences: outputs and new states."""


@dataclass(frozen=True)
class LoweredFunction:
    """One function: an entry for one choice of sizes.

    Attributes:
        symbol: its name, unique in the program.
        dims: the sizes it is for; dims of any size are missing.
        sources: the number of the input that each result is, or ``None`` if it is computed.
        text: StableHLO; arguments are all weights, the inputs, the states.
        portable: the same as versioned bytecode.
        xla: a serialized `jax.export` blob for CPU, CUDA and TPU; empty if not asked for.
        cost: estimated ``flops`` and ``bytes``.
    """

    symbol: str
    entry: str
    dims: dict[str, int]
    sources: tuple[int | None, ...]
    text: str
    portable: bytes
    xla: bytes
    cost: dict[str, float] = field(default_factory=dict)


@dataclass
class Piece:
    """What one function computes, before lowering."""

    entry: str
    dims: dict[str, Any]
    trace: Trace
    compute: Compute
    inputs: list[jax.ShapeDtypeStruct]
    states: list[jax.ShapeDtypeStruct]


def sequence_piece(
    program: Program, entry: str, sizes: dict[str, Any], trace: Trace | None = None
) -> Piece:
    """The whole call for one choice of sizes; `trace` is that for `sizes`."""
    trace = trace or program.trace(sizes)

    def compute(weights: Any, inputs: list[Any], _states: list[Any], marked: bool) -> Any:
        args = _args(trace, weights, inputs)
        return run_piece(trace.bind(weights), args, (), None, marked=marked)[0], []

    return Piece(entry, sizes, trace, compute, program.input_avals(sizes), [])


def chunk_piece(
    program: Program, streaming: Streaming, sizes: dict[str, Any], trace: Trace | None = None
) -> Piece:
    """A piece of the sequence, with states in and out; `trace` is that for `sizes`."""
    trace = trace or program.trace(sizes)

    def compute(weights: Any, inputs: list[Any], states: list[Any], marked: bool) -> Any:
        args = _args(trace, weights, inputs)
        return run_piece(trace.bind(weights), args, streaming.loops, states, marked=marked)

    states = state_avals(program, streaming, trace, sizes)
    return Piece("chunk", sizes, trace, compute, program.input_avals(sizes), states)


def init_piece(program: Program, streaming: Streaming, sizes: dict[str, int]) -> Piece:
    """The states at the start of a stream."""
    trace = program.trace({**sizes, TIME: 1})
    zeros = program.input_avals({**sizes, TIME: 1})

    def compute(weights: Any, _inputs: list[Any], _states: list[Any], _marked: bool) -> Any:
        inputs = [jnp.zeros(a.shape, a.dtype) for a in zeros]
        args = _args(trace, weights, inputs)
        return [], initial_states(trace.bind(weights), args, streaming.loops)

    return Piece("init", sizes, trace, compute, [], [])


def state_avals(
    program: Program, streaming: Streaming, trace: Trace, sizes: dict[str, int]
) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the states of a stream."""
    avals = []
    for index in streaming.loops:
        eqn = trace.scans[index]
        start, count = eqn.params["num_consts"], eqn.params["num_carry"]
        avals.extend(atom.aval for atom in eqn.invars[start : start + count])
    if any(jnp.issubdtype(a.dtype, jax.dtypes.extended) for a in avals):
        raise UnsupportedError(
            "compile: a loop along time carries a PRNG key of the new style; carry "
            "jax.random.key_data(key) and wrap it in the step"
        )
    return [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]


def _args(trace: Trace, weights: Any, inputs: list[Any]) -> list[Any]:
    return [*(weights[name] for name in trace.weight_names), *inputs]


def lower_piece(piece: Piece, stored: StoredWeights, *, xla: bool) -> LoweredFunction:
    """Lower `piece`; every stored array is an argument, in order.

    With `xla` the function is also exported for XLA on CPU, CUDA and TPU.
    """
    names = list(stored.arrays)
    sources: list[tuple[int | None, ...]] = []

    first_state = len(names) + len(piece.inputs)

    def run(marked: bool, *values: Any) -> list[Any]:
        given = stored.widen(dict(zip(names, values, strict=False)))
        inputs, states = list(values[len(names) : first_state]), list(values[first_state:])
        outputs, after = piece.compute(given, inputs, states, marked)
        sources.append(tuple(_source(out, inputs) for out in outputs))
        computed = [o for o, s in zip(outputs, sources[-1], strict=True) if s is None]
        return [_fresh(value, values) for value in [*computed, *after]]

    weight_avals = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in stored.arrays.values()]
    jitted = jax.jit(run, keep_unused=True, static_argnums=0)
    arguments = (*weight_avals, *piece.inputs, *piece.states)
    with _without_source_paths():
        exported = export.export(jitted, platforms=["cpu"])(True, *arguments)
        # JAX 0.10 cannot lower composites for several platforms at once; XLA needs no marks.
        blob = b""
        if xla:
            exporter = export.export(jitted, platforms=XLA_PLATFORMS)
            blob = bytes(exporter(False, *arguments).serialize())
    sizes = {name: size for name, size in piece.dims.items() if isinstance(size, int)}
    return LoweredFunction(
        symbol="_".join([piece.entry, *(f"{name}{size}" for name, size in sizes.items())]),
        entry=piece.entry,
        dims=sizes,
        sources=sources[0],
        text=exported.mlir_module(),
        portable=exported.mlir_module_serialized,
        xla=blob,
        cost=_cost(piece),
    )


def _cost(piece: Piece) -> dict[str, float]:
    """The estimate of one call; empty if it depends on sizes that are not known."""
    if piece.entry == "init":
        return {"flops": 0.0, "bytes": 0.0}
    known = all(isinstance(size, int) for size in piece.dims.values())
    return estimate(piece.trace.jaxpr) if known else {}


def _source(value: Any, inputs: Sequence[Any]) -> int | None:
    return next((i for i, given in enumerate(inputs) if given is value), None)


def _fresh(value: Any, arguments: Sequence[Any]) -> Any:
    """`value`, or a computed copy if it is an argument: IREE may overwrite arguments in place."""
    if not any(value is argument for argument in arguments):
        return value
    if jnp.issubdtype(value.dtype, np.bool_):
        return jnp.logical_or(value, jnp.logical_and(value, ~value))
    return value + jnp.zeros_like(value)


@contextlib.contextmanager
def _without_source_paths() -> Iterator[None]:
    """Keep the paths of source files out of what is lowered, so that it is reproducible."""
    before = jax.config.jax_traceback_in_locations_limit  # pyright: ignore
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def output_avals(trace: Trace) -> list[tuple[tuple[Any, ...], str]]:
    """Shape and dtype of each result of the whole call."""
    result = []
    for atom in trace.jaxpr.jaxpr.outvars:
        aval = atom.aval
        assert not isinstance(atom, Literal) or aval.shape == ()  # pyright: ignore
        result.append((tuple(aval.shape), np.dtype(aval.dtype).name))  # pyright: ignore
    return result
