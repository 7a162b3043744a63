"""The capture stage: from a callable and specs to the entries of a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from recurrent_iree._spec import TIME, Spec
from recurrent_iree_runtime import ArgumentError, RecurrentIreeError, UnsupportedError

from ._any_length import lower_any_length
from ._axes import Case, name_axes
from ._golden import GoldenCase, golden_cases, gradient_cases
from ._gradients import GRADIENTS, gradient_program
from ._layer import describe_layer, stateful_probe
from ._lower import (
    LoweredFunction,
    Piece,
    chunk_piece,
    init_piece,
    lower_piece,
    output_avals,
    sequence_piece,
    state_avals,
)
from ._program import Program, Trace
from ._scan import describe_scan
from ._storage import StoredWeights, check_kind, store
from ._streaming import Streaming, find_streaming
from ._tree import tree_json

CHUNKS = (64, 8, 1)


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


@dataclass
class Lowered:
    """A program as StableHLO: entries, states, weights and golden vectors.

    Attributes:
        name: what the artifact will be called.
        default_entry: ``"sequence"`` if an input has a time axis, else ``"main"``.
        dims: the sizes of each named dim, ``None`` for any.
        entries: the ways to call the program.
        states: the arrays that a stream carries; empty if it carries none.
        stored: the weights of the program, as its functions take them.
        goldens: inputs and the outputs that XLA gives for them.
        streaming: empty if the program can be streamed, else the reason why it cannot.
        any_length: ``"yes"`` if one function runs any number of steps, else why none does; empty
            if the lengths are known.
        loops: what was found of each loop of the first function, as JSON.
        layer: what the runtime needs to know of the layer that this is, as JSON; else ``None``.
        time_loops: positions of the loops that carry the state of a stream.
    """

    name: str
    default_entry: str
    dims: dict[str, tuple[int, ...] | None]
    entries: list[LoweredEntry]
    states: list[Array]
    stored: StoredWeights
    goldens: list[GoldenCase]
    streaming: str
    any_length: str
    loops: list[dict[str, Any]]
    layer: dict[str, Any] | None = None
    time_loops: tuple[int, ...] = ()

    def text(self, symbol: str | None = None) -> str:
        """The StableHLO of one function (of the first one if `symbol` is not given)."""
        functions = {f.symbol: f for entry in self.entries for f in entry.functions}
        if symbol is None:
            symbol = next(iter(functions))
        if symbol not in functions:
            raise ArgumentError(f"text: there is no function {symbol!r}; there are {[*functions]}")
        return functions[symbol].text

    def report(self) -> dict[str, Any]:
        """What was captured, as JSON."""
        return {
            "entries": {e.name: [f.symbol for f in e.functions] for e in self.entries},
            "streaming": self.streaming or "yes",
            **({"any length": self.any_length} if self.any_length else {}),
            "loops": self.loops,
            "states": [f"{s.name}: {s.dtype}{list(s.shape)}" for s in self.states],
            "weights": {name: list(value.shape) for name, value in self.stored.seen().items()},
            **({} if self.stored.kind == "f32" else {"storage": self.stored.report()}),
        }

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays by name, as its functions take them."""
        return self.stored.arrays


def capture(
    program: Program,
    name: str,
    *,
    chunks: Sequence[int] | None = None,
    entry: str | Sequence[str] | None = None,
    xla: bool = True,
    weights: str = "f32",
) -> Lowered:
    """Trace `program` for every choice of sizes and lower it; see `recurrent_iree.compile`."""
    kind = check_kind(weights)
    lengths = _chunk_lengths(program, chunks)
    default = "sequence" if TIME in program.dims else "main"
    wanted = wanted_entries(entry, default)
    streaming = Streaming((), "only its gradients are compiled")
    whole: list[Piece] = []
    pieces: list[Piece] = []
    entries: list[LoweredEntry] = []
    states: list[Array] = []
    goldens: list[GoldenCase] = []
    if default in wanted:
        streaming = _streaming(program)
        whole = [] if _in_chunks(program) else _whole_pieces(program, default)
        pieces = _stream_pieces(program, streaming, lengths) if not streaming.reason else []
        entries = [_default_entry(program, default, whole, pieces)]
    if pieces:
        states, stream_entries = _stream_entries(program, streaming, pieces)
        entries.extend(stream_entries)
    back: list[Piece] = []
    if GRADIENTS in wanted:
        gradients, back, cases = _gradient_entry(program, whole, kind)
        entries.append(gradients)
        goldens.extend(cases)
    stored = store(kind, [piece.trace for piece in [*whole, *pieces, *back]], program.weights)
    if default in wanted:
        goldens = [*_goldens(program, stored, default, lengths, streams=bool(pieces)), *goldens]
    for piece in [*whole, *pieces, *back]:
        lowered = lower_piece(piece, stored, xla=xla)
        next(e for e in entries if e.name == piece.entry).functions.append(lowered)
    any_length = ""
    if pieces and _in_chunks(program) and chunks is None:
        functions, why = lower_any_length(program, streaming, stored)
        chunk = next(e for e in entries if e.name == "chunk")
        if all(f.sources == chunk.functions[0].sources for f in functions):
            chunk.functions.extend(functions)
            any_length = why or "yes"
        else:
            any_length = "which outputs are inputs depends on the length"
    return Lowered(
        name=name,
        default_entry=entries[0].name,
        dims=program.dims,
        entries=entries,
        states=states,
        stored=stored,
        goldens=goldens,
        streaming=streaming.reason,
        any_length=any_length,
        loops=[describe_scan(eqn) for eqn in [*whole, *pieces, *back][0].trace.scans],
        layer=describe_layer(program, streaming) if default in wanted else None,
        time_loops=streaming.loops,
    )


def wanted_entries(entry: str | Sequence[str] | None, default: str) -> tuple[str, ...]:
    """The entries that `entry` asks for, checked; `default` is what calling the model runs."""
    wanted = (default,) if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
    if not wanted or len(set(wanted)) != len(wanted) or set(wanted) - {default, GRADIENTS}:
        raise ArgumentError(
            f"compile: entry={entry!r}; give {default!r}, {GRADIENTS!r}, or both in a list "
            f"(what calls this program is {default!r}: "
            + ("an input has" if default == "sequence" else "no input has")
            + ' a dim called "time")'
        )
    return wanted


def _gradient_entry(
    program: Program, whole: list[Piece], kind: str
) -> tuple[LoweredEntry, list[Piece], list[GoldenCase]]:
    if kind != "f32":
        raise UnsupportedError(
            f'compile: entry="gradients" with weights={kind!r}; gradients are for weights in '
            "float32. Compile the gradients into an artifact of their own"
        )
    unbound = [name for name, sizes in program.dims.items() if sizes is None]
    if unbound:
        raise UnsupportedError(
            f'compile: entry="gradients" with "{unbound[0]}=?"; the backward pass needs every '
            f'size. Name the sizes in the spec, for example "{unbound[0]}=16|32"'
        )
    pieces = whole or _whole_pieces(program, GRADIENTS)
    shapes = _output_shapes(program, pieces, vary_time=False)
    made = gradient_program(program, pieces[0].dims, shapes)
    back = _whole_pieces(made, GRADIENTS)
    trace = back[0].trace
    entry = LoweredEntry(
        name=GRADIENTS,
        realization="module",
        inputs=_inputs(made),
        input_tree=_input_tree(made),
        outputs=_outputs(trace, _output_shapes(made, back, vary_time=False)),
        output_tree=tree_json(trace.result),
    )
    return entry, back, gradient_cases(made, GRADIENTS)


def _goldens(
    program: Program,
    stored: StoredWeights,
    entry: str,
    lengths: tuple[int, ...],
    *,
    streams: bool,
) -> list[GoldenCase]:
    if _in_chunks(program):
        return golden_cases(program, stored, entry, lengths, ())
    return golden_cases(program, stored, entry, (), lengths if streams else ())


def _chunk_lengths(program: Program, chunks: Sequence[int] | None) -> tuple[int, ...]:
    if chunks is None:
        return CHUNKS if _in_chunks(program) else (1,)
    if not chunks or any(not isinstance(c, int) or c < 1 for c in chunks):
        raise ArgumentError(
            f"compile: chunks={chunks!r}; give the lengths of the pieces in which sequences "
            "are run, positive integers such as (64, 8, 1)"
        )
    return tuple(sorted({*chunks, 1}, reverse=True))


def _in_chunks(program: Program) -> bool:
    return program.dims.get(TIME, ()) is None and not program.any_dims


def _streaming(program: Program) -> Streaming:
    if program.any_dims:
        _refuse_loops(program)
        return Streaming((), f"the dim {program.any_dims[0]!r} may have any size")
    streaming = find_streaming(program)
    if streaming.reason and program.dims.get(TIME, ()) is None:
        raise UnsupportedError(
            f'compile: "time=?" needs a program that can be run in pieces, but {streaming.reason}. '
            'Name the lengths in the spec instead, for example "time=16|32"'
        )
    return streaming


def _refuse_loops(program: Program) -> None:
    sizes = dict.fromkeys(program.any_dims, 3)
    probe = {**next(iter(program.sizes(time=3))), **sizes}
    if program.trace(probe).has_loops:
        dim = program.any_dims[0]
        raise UnsupportedError(
            f'compile: "{dim}=?" in a program with a loop; IREE 3.13 computes wrong numbers for '
            f'loops over arrays of a dynamic size. Name the sizes, for example "{dim}=1|8"'
        )


def _whole_pieces(program: Program, entry: str) -> list[Piece]:
    sizes = list(program.sizes())
    names = [n for n, s in program.dims.items() if s is None]
    if names:
        symbols = jax.export.symbolic_shape(", ".join(names))
        sizes = [{**s, **dict(zip(names, symbols, strict=True))} for s in sizes]
    return [sequence_piece(program, entry, s) for s in sizes]


def _stream_pieces(program: Program, streaming: Streaming, lengths: tuple[int, ...]) -> list[Piece]:
    pieces = []
    for length in lengths:
        pieces.extend(chunk_piece(program, streaming, s) for s in program.sizes(time=length))
    for sizes in program.sizes(time=1):
        rest = {name: size for name, size in sizes.items() if name != TIME}
        pieces.append(init_piece(program, streaming, rest))
    return pieces


def _default_entry(
    program: Program, name: str, whole: list[Piece], stream: list[Piece]
) -> LoweredEntry:
    pieces = whole or [p for p in stream if p.entry == "chunk"]
    shapes = _output_shapes(program, pieces, vary_time=not whole)
    trace = pieces[0].trace
    return LoweredEntry(
        name=name,
        realization="module" if whole else "chunks",
        inputs=_inputs(program),
        input_tree=_input_tree(program),
        outputs=_outputs(trace, shapes),
        output_tree=tree_json(trace.result),
    )


def _stream_entries(
    program: Program, streaming: Streaming, pieces: list[Piece]
) -> tuple[list[Array], list[LoweredEntry]]:
    chunk_pieces = [p for p in pieces if p.entry == "chunk"]
    trace = chunk_pieces[0].trace
    shapes = _output_shapes(program, chunk_pieces, vary_time=True)
    cases: list[Case] = [(p.dims, [tuple(s.shape) for s in p.states]) for p in chunk_pieces]
    names = _state_names(streaming, trace)
    probes: list[Case] = [
        (sizes, [tuple(s.shape) for s in state_avals(program, streaming, other, sizes)])
        for sizes, other in _probes(program, chunk_pieces[0].dims)
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
        _inputs(program),
        _input_tree(program),
        _outputs(trace, shapes),
        tree_json(trace.result),
    )
    return states, [chunk, LoweredEntry("init", "module", [], empty, [], {"tuple": []})]


def _state_names(streaming: Streaming, trace: Trace) -> list[str]:
    return [
        f"loop{index}/carry{position}"
        for index in streaming.loops
        for position in range(trace.scans[index].params["num_carry"])
    ]


def _output_shapes(
    program: Program, pieces: list[Piece], *, vary_time: bool
) -> list[tuple[int | str, ...]]:
    cases: list[Case] = [(p.dims, [s for s, _ in output_avals(p.trace)]) for p in pieces]
    if vary_time:
        sizes = dict(pieces[0].dims)
        for time in (3, 5):
            trace = program.trace({**sizes, TIME: time})
            cases.append(({**sizes, TIME: time}, [s for s, _ in output_avals(trace)]))
    if program.any_dims:
        return [tuple(_plain(d) for d in shape) for shape in cases[0][1]]
    probes: list[Case] = [
        (sizes, [s for s, _ in output_avals(trace)])
        for sizes, trace in _probes(program, pieces[0].dims)
    ]
    return name_axes(cases, "output", probes)


def _probes(program: Program, sizes: dict[str, int]) -> Iterator[tuple[dict[str, int], Trace]]:
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


def _inputs(program: Program) -> list[Array]:
    return [
        Array(name, _named_shape(given), given.dtype)
        for name, given in zip(program.names, program.specs, strict=True)
    ]


def _named_shape(given: Spec) -> tuple[int | str, ...]:
    return tuple(dim.name if dim.name is not None else (dim.sizes or (0,))[0] for dim in given.dims)


def _outputs(trace: Trace, shapes: list[tuple[int | str, ...]]) -> list[Array]:
    dtypes = [dtype for _, dtype in output_avals(trace)]
    return [Array(f"output{i}", s, d) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))]


def _input_tree(program: Program) -> dict[str, Any]:
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
