"""The capture stage: from a callable and specs to the entries of a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurrent_iree._spec import TIME
from recurrent_iree_runtime import ArgumentError, UnsupportedError

from ._any_length import lower_any_length
from ._any_size import stream_of_any_rows, trace_any_size
from ._entries import (
    Array,
    LoweredEntry,
    default_entry,
    input_tree,
    inputs,
    output_shapes,
    outputs,
    stream_entries,
)
from ._golden import GoldenCase, golden_cases, gradient_cases
from ._gradients import GRADIENTS, Backward, gradient_program, gradient_shapes
from ._keep_less import keep_less
from ._later import Later
from ._layer import describe_layer
from ._lower import Piece, chunk_piece, init_piece, lower_piece, sequence_piece
from ._program import Program
from ._scan import describe_scan
from ._storage import StoredWeights, check_kind, store
from ._streaming import Streaming, find_streaming
from ._tree import tree_json

CHUNKS = (64, 8, 1)


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
        goldens: inputs and the outputs that XLA gives for them; made when they are looked at.
        streaming: empty if the program can be streamed, else the reason why it cannot.
        any_length: ``"yes"`` if one function runs any number of steps, else why none does; empty
            if the lengths are known.
        loops: what was found of each loop of the first function, as JSON.
        layer: what the runtime needs to know of the layer that this is, as JSON; else ``None``.
        time_loops: positions of the loops that carry the state of a stream.
        backward: what the entry ``gradients`` was made of, if there is one.
        kept: for each loop of its first function and each step of it, the bytes that JAX keeps for
            the backward pass, and those that the function keeps.
    """

    name: str
    default_entry: str
    dims: dict[str, tuple[int, ...] | None]
    entries: list[LoweredEntry]
    states: list[Array]
    stored: StoredWeights
    goldens: Sequence[GoldenCase]
    streaming: str
    any_length: str
    loops: list[dict[str, Any]]
    layer: dict[str, Any] | None = None
    time_loops: tuple[int, ...] = ()
    backward: Backward | None = None
    kept: Sequence[tuple[int, int]] = ()

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
            **({"kept for the backward pass": self._kept()} if self.kept else {}),
            "states": [f"{s.name}: {s.dtype}{list(s.shape)}" for s in self.states],
            "weights": {name: list(value.shape) for name, value in self.stored.seen().items()},
            **({} if self.stored.kind == "f32" else {"storage": self.stored.report()}),
        }

    def _kept(self) -> list[str]:
        return [f"{now} B of a step instead of {jax} B" for jax, now in self.kept]

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
    goldens: list[Sequence[GoldenCase]] = []
    if default in wanted:
        streaming = _streaming(program)
        whole = [] if _in_chunks(program) else _whole_pieces(program, default)
        pieces = _stream_pieces(program, streaming, lengths) if not streaming.reason else []
        entries = [default_entry(program, default, whole, pieces)]
    if pieces:
        states, streams = stream_entries(program, streaming, pieces)
        entries.extend(streams)
    back: list[Piece] = []
    backward, kept = None, []
    if GRADIENTS in wanted:
        gradients, back, cases, backward, kept = _gradient_entry(program, whole, kind)
        entries.append(gradients)
        goldens = [cases]
    stored = store(kind, [piece.trace for piece in [*whole, *pieces, *back]], program.weights)
    if default in wanted:
        goldens.insert(0, _goldens(program, stored, default, lengths, streams=bool(pieces)))
    for piece in [*whole, *pieces, *back]:
        lowered = lower_piece(piece, stored, xla=xla)
        next(e for e in entries if e.name == piece.entry).functions.append(lowered)
    any_length = ""
    if pieces and program.dims[TIME] is None and chunks is None:
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
        goldens=Later(lambda: [case for cases in goldens for case in cases]),
        streaming=streaming.reason,
        any_length=any_length,
        loops=[describe_scan(eqn) for eqn in [*whole, *pieces, *back][0].trace.scans],
        layer=describe_layer(program, streaming) if default in wanted else None,
        time_loops=streaming.loops,
        backward=backward,
        kept=kept,
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


def _goldens(
    program: Program,
    stored: StoredWeights,
    entry: str,
    lengths: tuple[int, ...],
    *,
    streams: bool,
) -> Sequence[GoldenCase]:
    if _in_chunks(program):
        return golden_cases(program, stored, entry, lengths, ())
    steps = lengths if streams else ()
    return golden_cases(program, stored, entry, (), steps, forward=streams)


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
        return stream_of_any_rows(program)
    streaming = find_streaming(program)
    if streaming.reason and program.dims.get(TIME, ()) is None:
        raise UnsupportedError(
            f'compile: "time=?" needs a program that can be run in pieces, but {streaming.reason}. '
            'Name the lengths in the spec instead, for example "time=16|32"; or, for CPUs and XLA, '
            'leave the number of rows open, too ("batch=?"): kernels run whole sequences then'
        )
    return streaming


def _whole_pieces(program: Program, entry: str) -> list[Piece]:
    names = [n for n, s in program.dims.items() if s is None]
    if not names:
        return [sequence_piece(program, entry, s) for s in program.sizes()]
    pieces = []
    for sizes in program.sizes():
        trace, given = trace_any_size(program, sizes, names)
        pieces.append(sequence_piece(program, entry, given, trace))
    return pieces


def _stream_pieces(program: Program, streaming: Streaming, lengths: tuple[int, ...]) -> list[Piece]:
    pieces = []
    for length in lengths:
        for sizes in program.sizes(time=length):
            trace = None
            if program.any_dims:
                trace, sizes = trace_any_size(program, sizes, program.any_dims)
            pieces.append(chunk_piece(program, streaming, sizes, trace))
    for sizes in program.sizes(time=1):
        rest = {name: size for name, size in sizes.items() if name != TIME}
        rest |= dict.fromkeys(program.any_dims, 1)
        pieces.append(init_piece(program, streaming, rest))
    return pieces


def _gradient_entry(
    program: Program, whole: list[Piece], kind: str
) -> tuple[LoweredEntry, list[Piece], Sequence[GoldenCase], Backward, Sequence[tuple[int, int]]]:
    if kind != "f32":
        raise UnsupportedError(
            f'compile: entry="gradients" with weights={kind!r}; gradients are for weights in '
            "float32. Compile the gradients into an artifact of their own"
        )
    unbound = [name for name, sizes in program.dims.items() if sizes is None]
    if unbound == [TIME]:
        raise UnsupportedError(
            'compile: entry="gradients" with "time=?"; the backward pass starts at the last step '
            "and reads what every step before it has kept, so it cannot run in pieces as the "
            "sequence does, and no function of any length is made of it. Name the lengths in the "
            'spec, for example "time=16|32"; shorter sequences may be padded, with zeros as the '
            "cotangents of the padding"
        )
    if unbound:
        raise UnsupportedError(
            f'compile: entry="gradients" with "{unbound[0]}=?"; the backward pass needs every '
            f'size. Name the sizes in the spec, for example "{unbound[0]}=16|32"'
        )
    pieces = whole or _whole_pieces(program, GRADIENTS)
    shapes = output_shapes(program, pieces, vary_time=False)
    made = gradient_program(program, pieces[0].dims, shapes)
    backward = Backward(made, pieces[0].dims, shapes)
    leaner = [(sizes, *keep_less(made.trace(sizes))) for sizes in made.sizes()]
    back = [sequence_piece(made, GRADIENTS, sizes, trace) for sizes, trace, _ in leaner]
    _, trace, kept = leaner[0]
    entry = LoweredEntry(
        name=GRADIENTS,
        realization="module",
        inputs=inputs(made),
        input_tree=input_tree(made),
        outputs=outputs(trace, gradient_shapes(program, backward, pieces[0].trace)),
        output_tree=tree_json(trace.result),
    )
    return entry, back, gradient_cases(made, GRADIENTS), backward, kept
