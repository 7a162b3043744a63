"""The loops of one step: each in vectors, or element by element where lanes do not allow that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ._buffers import index_of
from ._chain import start_of
from ._dots import is_apart
from ._evaluate import Evaluator, Index, Names, NotVectorizable
from ._index import Affine, variable
from ._ir import Value
from ._levels import Loop, Root
from ._nests import Point
from ._order import runs_alone
from ._packing import Pack, Packer
from ._products import Products
from ._reductions import Reduction
from ._terms import Term
from ._tiles import MOST_ROWS, NO_PRODUCTS, Demand, Tile, choose_tile
from ._writer import storage_dtype

if TYPE_CHECKING:
    from ._kernel import Kernel

_BITS = {"i8": 32, "i16": 32, "i32": 32, "i64": 64, "f32": 32, "f64": 64, "bf16": 32, "f16": 32}


@dataclass
class Made:
    """One loop as it was emitted, for the explanation."""

    loop: Loop
    tile: Tile
    packs: list[Pack]


class Step:
    """Writes the loops of a step of `kernel`.

    Attributes:
        made: the loops that were written, in order.
        packs: the weights that they read packed.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.w = kernel.w
        self.stages = kernel.stages
        self.memory = kernel.memory
        self.nests = kernel.nests
        self.packs: list[Pack] = []
        self.made: list[Made] = []

    def emit(self) -> None:
        """All loops of a step."""
        for alone, group in groupby(self.stages.loops, self._is_alone):
            loops = list(group)
            if alone or len(loops) == 1:
                for loop in loops:
                    self.emit_stage(loop)
            else:
                self.nests.in_blocks(MOST_ROWS, lambda loops=loops: self._each(loops))

    def _each(self, loops: list[Loop]) -> None:
        for loop in loops:
            self.emit_stage(loop)

    def _is_alone(self, loop: Loop) -> bool:
        any_rows = self.kernel.any_rows is not None
        return any_rows or runs_alone(loop, self.kernel.cell, self.stages, self.kernel.rows)

    def emit_stage(self, loop: Loop) -> None:
        """Emit one loop in vectors, or element by element where its lanes do not allow vectors."""
        w = self.w
        lines, packs = len(w.lines), len(self.packs)
        tile = self.tile(loop)
        try:
            self._emit_loop(loop, tile)
        except NotVectorizable as reason:
            del w.lines[lines:], self.packs[packs:]
            tile = Tile(0, 1, tile.sums, f"element by element: {reason}")
            self._emit_loop(loop, tile)
        self.made.append(Made(loop, tile, self.packs[packs:]))

    def tile(self, loop: Loop) -> Tile:
        """The tile of a loop, before it is known whether it can be emitted in vectors."""
        value = loop.roots[0].value
        if loop.kind == "reduce":
            native = self._choose(value, loop.space)
            rows = min(self.kernel.rows, 4) if loop.rows else 1
            return Tile(native.lanes, rows, 0, "reduction: lanes first, then across them")
        if loop.kind == "assemble":
            return self._choose(value, loop.space)
        return self._choose(value, loop.space, self._demand(loop))

    def _choose(self, value: Value, space: tuple[int, ...], demand: Demand = NO_PRODUCTS) -> Tile:
        if not space:
            rows = 4 if demand.sums and self.stages.has_rows(value) else 1
            return Tile(0, rows, demand.sums, "one element")
        rows = self.kernel.rows if self.stages.has_rows(value) else (1, *space)[-2]
        bits = _BITS[storage_dtype(value.dtype)]
        return choose_tile(self.kernel.machine, bits, demand, rows, space[-1])

    def copy_tile(self, value: Value) -> Tile:
        """The tile in which `value` is copied from one place to another."""
        return self._choose(value, self.stages.lane_shape(value))

    def _demand(self, loop: Loop) -> Demand:
        """How many products run at once in `loop`, and what they read."""
        block = self.nests.block(Affine(), 1)
        ev = Evaluator(self.w, self.stages, self.memory.homes, loop, block, 2)
        lanes = [variable(f"%axis{n}") for n in range(len(loop.space))]
        if lanes:
            lanes[-1] = lanes[-1] + Affine(lane=1)
        try:
            wanted = ev.collect(lambda: self._ask(ev, loop, [lanes]))
        except NotVectorizable:
            return NO_PRODUCTS
        terms = [Term(op, index) for op, index in wanted]
        plain = [term.op for term in terms if not is_apart(ev, term)]
        starts = {start_of(op) for op in plain}
        sizes = Counter(
            tuple(op.operands[0].shape[a] for a in op.attrs["lhs_contract"])
            for op in plain
            if op.result not in starts
        )
        read = [value for op in plain for value in op.operands[:2]]
        shared = not all(self.stages.has_rows(value) for value in read)
        return Demand(max(sizes.values(), default=0), shared, len(plain) < len(terms))

    def _ask(self, ev: Evaluator, loop: Loop, points: list[Point]) -> None:
        for lanes in points:
            for root in loop.roots:
                ev.get(root.value, index_of(root.value, self.stages.batch.get(root.value), lanes))

    def _emit_loop(self, loop: Loop, tile: Tile) -> None:
        if loop.kind == "reduce":
            self._reduce(loop, tile)
        elif loop.kind == "assemble":
            for root in loop.roots:
                self._assemble(root, tile)
        else:
            self._map(loop, tile)

    def _map(self, loop: Loop, tile: Tile) -> None:
        k = self.kernel
        packer = Packer(self.packs, k.machine.lanes(32), k.narrow, k.ahead)

        def body(ev: Evaluator, points: list[Point]) -> None:
            wanted = ev.collect(lambda: self._ask(ev, loop, points))
            Products(ev, packer).emit(wanted)
            for lanes in points:
                for root in loop.roots:
                    batch = self.stages.batch.get(root.value)
                    index = index_of(root.value, batch, lanes)
                    self._store(ev, root.value, index, ev.get(root.value, index))

        self.nests.over(loop, loop.space, loop.rows, tile, body, packer)

    def _store(self, ev: Evaluator, value: Value, index: Index, names: Names) -> None:
        for target in self.memory.targets[value]:
            ev.write(target, target.at(index), names)

    def _reduce(self, loop: Loop, tile: Tile) -> None:
        op = loop.roots[0].op
        assert op is not None

        def body(ev: Evaluator) -> None:
            Reduction(ev, op, tile.lanes, self._store, self.nests.cut).emit()

        self.nests.row_blocks(loop, loop.rows, tile, body, 0)

    def _assemble(self, root: Root, tile: Tile) -> None:
        """A value put together from parts: each part is copied to its place."""
        op = root.op
        assert op is not None
        parts: list[tuple[Value, tuple[int, ...]]] = []
        rank = len(root.value.shape)
        if op.kind == "concatenate":
            start = 0
            for operand in op.operands:
                parts.append(
                    (operand, tuple(start if a == op.attrs["dim"] else 0 for a in range(rank)))
                )
                start += operand.shape[op.attrs["dim"]]
        else:
            self._part(root.value, op.operands[1], (0,) * rank, fill=True)
            parts.append((op.operands[0], op.attrs["low"]))
        for operand, starts in parts:
            self._part(root.value, operand, starts, fill=False)

    def _part(self, whole: Value, part: Value, starts: tuple[int, ...], fill: bool) -> None:
        shape = whole if fill else part
        batch = self.stages.batch.get(whole)
        space = tuple(n for a, n in enumerate(shape.shape) if a != batch and n != 1)
        tile = self._choose(whole, space)

        def body(ev: Evaluator, points: list[Point]) -> None:
            index = index_of(shape, batch, points[0])
            names = ev.get(part, () if fill else index)
            there = tuple(i.plus(s) for i, s in zip(index, starts, strict=True))
            self._store(ev, whole, there, names)

        self.nests.over(None, space, self.stages.has_rows(whole), tile, body, Packer([], 1))
