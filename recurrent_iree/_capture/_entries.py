"""The entries of a program: its arrays by name, with the dims in their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from recurrent_iree._spec import TIME, Spec
from recurrent_iree_runtime import RecurrentIreeError, UnsupportedError

from ._axes import Case, name_axes
from ._layer import stateful_probe
from ._lower import LoweredFunction, Piece, output_avals, state_avals
from ._program import Program, Trace
from ._streaming import Streaming
from ._tree import tree_json


@dataclass(frozen=True)
class Array:
    """Name, shape and dtype of one array; a string in the shape names a dim."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass
class LoweredEntry:
    """One way to call the program."""

    name: str
    realization: str
    inputs: list[Array]
    input_tree: dict[str, Any]
    outputs: list[Array]
    output_tree: dict[str, Any]
    functions: list[LoweredFunction] = field(default_factory=list)


def default_entry(
    program: Program, name: str, whole: list[Piece], stream: list[Piece]
) -> LoweredEntry:
    """What calling the model runs: the whole program, or chunks of it."""
    pieces = whole or [p for p in stream if p.entry == "chunk"]
    shapes = output_shapes(program, pieces, vary_time=not whole)
    trace = pieces[0].trace
    return LoweredEntry(
        name=name,
        realization="module" if whole else "chunks",
        inputs=inputs(program),
        input_tree=input_tree(program),
        outputs=outputs(trace, shapes),
        output_tree=tree_json(trace.result),
    )


def stream_entries(
    program: Program, streaming: Streaming, pieces: list[Piece]
) -> tuple[list[Array], list[LoweredEntry]]:
    """The states of a stream, and the entries that take and give them."""
    chunk_pieces = [p for p in pieces if p.entry == "chunk"]
    trace = chunk_pieces[0].trace
    shapes = output_shapes(program, chunk_pieces, vary_time=True)
    cases: list[Case] = [
        (sizes, [tuple(s.shape) for s in state_avals(program, streaming, other, sizes)])
        for piece in chunk_pieces
        for sizes, other in _in_numbers(program, piece)
    ]
    names = _state_names(streaming, trace)
    probes: list[Case] = [
        (sizes, [tuple(s.shape) for s in state_avals(program, streaming, other, sizes)])
        for sizes, other in _probes(program, cases[0][0])
        if len(other.scans) == len(trace.scans)
    ]
    states = [
        Array(n, shape, np.dtype(aval.dtype).name)
        for n, shape, aval in zip(
            names, name_axes(cases, "state", probes), chunk_pieces[0].states, strict=True
        )
    ]
    empty = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    chunk = LoweredEntry(
        "chunk",
        "module",
        inputs(program),
        input_tree(program),
        outputs(trace, shapes),
        tree_json(trace.result),
    )
    return states, [chunk, LoweredEntry("init", "module", [], empty, [], {"tuple": []})]


def _state_names(streaming: Streaming, trace: Trace) -> list[str]:
    return [
        f"loop{index}/carry{position}"
        for index in streaming.loops
        for position in range(trace.scans[index].params["num_carry"])
    ]


def output_shapes(
    program: Program, pieces: list[Piece], *, vary_time: bool
) -> list[tuple[int | str, ...]]:
    """The shape of each output, with the names of dims where its sizes follow them."""
    if program.any_dims and not pieces[0].trace.has_loops:
        return [tuple(_plain(d) for d in shape) for shape, _ in output_avals(pieces[0].trace)]
    traces = [found for piece in pieces for found in _in_numbers(program, piece)]
    if vary_time:
        sizes = dict(traces[0][0])
        traces += [(s, program.trace(s)) for s in ({**sizes, TIME: time} for time in (3, 5))]
    cases: list[Case] = [(s, [n for n, _ in output_avals(trace)]) for s, trace in traces]
    probes: list[Case] = [
        (sizes, [s for s, _ in output_avals(trace)])
        for sizes, trace in _probes(program, cases[0][0])
    ]
    return name_axes(cases, "output", probes)


def _in_numbers(program: Program, piece: Piece) -> Iterator[tuple[dict[str, int], Trace]]:
    """The sizes of `piece` and its trace; for some numbers in the place of symbols."""
    symbols = [name for name, size in piece.dims.items() if not isinstance(size, int)]
    if not symbols:
        yield piece.dims, piece.trace
        return
    for number in (5, 7):
        sizes = {**piece.dims, **{n: number + 8 * i for i, n in enumerate(symbols)}}
        yield sizes, program.trace(sizes)


def _probes(program: Program, sizes: Mapping[str, int]) -> Iterator[tuple[dict[str, int], Trace]]:
    """Traces with another size for each dim that has one only, where the program allows one."""
    for name, choices in program.dims.items():
        if choices is not None and len(choices) == 1:
            other = {**sizes, name: sizes[name] + 1}
            for trace in (program.trace, lambda sizes, n=name: stateful_probe(program, n, sizes)):
                try:
                    yield other, trace(other)
                    break
                except (TypeError, ValueError, IndexError, RecurrentIreeError):
                    continue


def _plain(size: Any) -> int | str:
    if isinstance(size, int):
        return size
    if str(size).isidentifier():
        return str(size)
    raise UnsupportedError(
        f"compile: an output has the size {size}; a size of a result must be a dim of the inputs "
        "or constant. Return arrays whose sizes are dims, or fix the size in the spec"
    )


def inputs(program: Program) -> list[Array]:
    """The inputs of `program` by name."""
    return [
        Array(name, _named_shape(given), given.dtype)
        for name, given in zip(program.names, program.specs, strict=True)
    ]


def _named_shape(given: Spec) -> tuple[int | str, ...]:
    return tuple(dim.name if dim.name is not None else (dim.sizes or (0,))[0] for dim in given.dims)


def outputs(trace: Trace, shapes: list[tuple[int | str, ...]]) -> list[Array]:
    """The outputs of `trace`, which have the `shapes`."""
    dtypes = [dtype for _, dtype in output_avals(trace)]
    return [Array(f"output{i}", s, d) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))]


def input_tree(program: Program) -> dict[str, Any]:
    """The structure of the arguments without the weights, leaves numbered by input."""
    leaves = [None if isinstance(leaf, str) else leaf for leaf in program.leaves]
    args, kwargs = jax.tree.unflatten(program.structure, leaves)
    args = tuple(a for a in args if not _is_empty(a))
    kwargs = {key: value for key, value in kwargs.items() if not _is_empty(value)}
    structure = jax.tree.structure((args, kwargs), is_leaf=lambda x: isinstance(x, Spec))
    tree = tree_json(structure)["tuple"]
    return {"dict": {"args": tree[0], "kwargs": tree[1]}}


def _is_empty(argument: Any) -> bool:
    """Whether an argument held weights only."""
    return not jax.tree.leaves(argument, is_leaf=lambda x: isinstance(x, Spec))
