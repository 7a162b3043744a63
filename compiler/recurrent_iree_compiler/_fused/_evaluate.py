"""Evaluating a value at an index, by asking for what it is computed from.

An index is one affine number for each axis. If one of them has a lane step, the value is a vector;
the batch axis stands for all rows of the block at once, so the result is one name for each row, or
a single name where rows do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._buffers import Buffer
from ._casts import narrow, widen
from ._chain import start_of
from ._elementwise import ELEMENTWISE, Lanes, emit
from ._index import ZERO, Affine
from ._ir import Op, Value, row_major
from ._levels import Loop
from ._moves import MOVES
from ._stages import Stages
from ._writer import Writer, compute_dtype, storage_dtype, vector

Index = tuple[Affine, ...]


class NotVectorizable(Exception):
    """The lanes of a value do not lie side by side; the loop runs element by element instead."""


@dataclass(frozen=True)
class Names:
    """What a value is called: one name for each row of the block, or one for all."""

    rows: tuple[str, ...]
    is_vector: bool


@dataclass(frozen=True)
class Block:
    """The rows that are computed together.

    Attributes:
        local: index of each row among the rows of the workgroup.
        whole: index of each row among all rows.
    """

    local: tuple[Affine, ...]
    whole: tuple[Affine, ...]


class Evaluator:
    """Evaluates values for the rows of `block` in tiles of `lanes` (0: element by element)."""

    def __init__(
        self,
        writer: Writer,
        stages: Stages,
        homes: dict[Value, Buffer],
        loop: Loop | None,
        block: Block,
        lanes: int,
    ) -> None:
        self.w = writer
        self.stages = stages
        self.homes = homes
        self.block = block
        self.lanes = lanes
        self.inline = {r.value for r in loop.roots} if loop and loop.kind == "map" else set()
        self.row_symbols: dict[str, tuple[str, ...]] = {}
        self.wanted: dict[tuple[Op, Index], None] | None = None

    def get(self, value: Value, index: Index) -> Names:
        """`value` at `index`."""
        if value in self.stages.cell.splats:
            splat = self.stages.cell.splats[value]
            return Names((self.w.constant(splat, compute_dtype(value.dtype)),), False)
        key = (value, index)
        known = self.w.find(key)
        if known is None:
            known = self._compute(value, index)
            self.w.remember(key, known)
        return known

    def _compute(self, value: Value, index: Index) -> Names:
        is_leaf = value in self.stages.leaves
        if is_leaf or (self.stages.stored(value) and value not in self.inline):
            return self.read(self.homes[value], self.homes[value].at(index))
        op = self.stages.makers[value]
        if op.kind in ELEMENTWISE:
            return self._elementwise(op, index)
        if op.kind == "dot_general":
            return self._product(op, index)
        handler: Callable[..., Names] = MOVES[op.kind]
        return handler(self, op, index)

    def _elementwise(self, op: Op, index: Index) -> Names:
        parts = [
            self.get(v, index if v.shape == op.result.shape else (ZERO,) * len(v.shape))
            for v in op.operands
        ]
        is_vector = any(p.is_vector for p in parts)
        if is_vector:
            parts = [self.spread(p, v.dtype) for p, v in zip(parts, op.operands, strict=True)]
        lanes = Lanes(self.w, self.lanes if is_vector else 0)
        count = max(len(p.rows) for p in parts)
        names = [emit(op, lanes, [p.rows[r % len(p.rows)] for p in parts]) for r in range(count)]
        return Names(tuple(names), is_vector)

    def _product(self, op: Op, index: Index) -> Names:
        if self.wanted is not None:
            start = start_of(op)
            if start is not None:
                self.get(start, index)
            self.wanted[op, index] = None
            is_vector = any(i.lane for i in index)
            kind = compute_dtype(op.result.dtype)
            return Names((self.w.constant(0, kind, self.lanes if is_vector else 0),), is_vector)
        raise AssertionError(f"the product {op.result} was not prepared")

    def spread(self, names: Names, dtype: str) -> Names:
        """`names` as vectors."""
        if names.is_vector:
            return names
        kind = compute_dtype(dtype)
        target = vector(kind, self.lanes)
        rows = (self.w.op(f"vector.broadcast {n} : {kind} to {target}") for n in names.rows)
        return Names(tuple(rows), True)

    def read(self, buffer: Buffer, at: Affine, lanes: int | None = None) -> Names:
        """The element or lanes at the address `at` of `buffer`."""
        width = self.lanes if lanes is None else lanes
        names = [self._load(buffer, place, width) for place in self.places(buffer, at)]
        return Names(tuple(names), bool(at.lane))

    def places(self, buffer: Buffer, at: Affine) -> list[Affine]:
        """The address for each row, or one address if it is the same for all rows."""
        if not at.row and not any(name in self.row_symbols for name, _ in at.terms):
            return [at]
        rows = self.block.local if buffer.own_rows else self.block.whole
        return [self._resolve(at, row, number) for number, row in enumerate(rows)]

    def _resolve(self, at: Affine, row: Affine, number: int) -> Affine:
        at = at.at_row(row)
        terms = []
        for name, factor in at.terms:
            symbol = self.row_symbols.get(name)
            terms.append((symbol[number % len(symbol)] if symbol else name, factor))
        return Affine(at.const, (), 0, at.lane) + _sum(terms)

    def _load(self, buffer: Buffer, at: Affine, width: int) -> str:
        lanes = Lanes(self.w, width if at.lane else 0)
        return widen(lanes, buffer.value.dtype, self._raw_load(buffer, at, width))

    def _raw_load(self, buffer: Buffer, at: Affine, width: int) -> str:
        where = f"{buffer.name}[{self.w.address(Affine(at.const, at.terms))}] : {buffer.type}"
        if at.lane == 0:
            return self.w.op(f"memref.load {where}")
        target = vector(buffer.storage, width)
        if at.lane == 1:
            return self.w.op(f"vector.load {where}, {target}")
        parts = [
            self._raw_load(buffer, Affine(at.const + at.lane * n, at.terms), 0)
            for n in range(width)
        ]
        return self.w.op(f"vector.from_elements {', '.join(parts)} : {target}")

    def write(self, buffer: Buffer, at: Affine, names: Names) -> None:
        """Store `names` at the address `at` of `buffer`."""
        dtype = buffer.value.dtype
        if at.lane:
            names = self.spread(names, dtype)
        lanes = Lanes(self.w, self.lanes if at.lane else 0)
        for number, place in enumerate(self.places(buffer, at)):
            name = narrow(lanes, dtype, names.rows[number % len(names.rows)])
            self._store(buffer, place, name)

    def _store(self, buffer: Buffer, at: Affine, name: str) -> None:
        where = f"{buffer.name}[{self.w.address(Affine(at.const, at.terms))}] : {buffer.type}"
        if at.lane == 0:
            self.w.line(f"memref.store {name}, {where}")
        elif at.lane == 1:
            kind = vector(storage_dtype(buffer.value.dtype), self.lanes)
            self.w.line(f"vector.store {name}, {where}, {kind}")
        else:
            kind = vector(storage_dtype(buffer.value.dtype), self.lanes)
            for n in range(self.lanes):
                part = self.w.op(f"vector.extract {name}[{n}] : {buffer.storage} from {kind}")
                self._store(buffer, Affine(at.const + at.lane * n, at.terms), part)

    def collect(self, ask: Callable[[], None]) -> list[tuple[Op, Index]]:
        """The products that `ask` would need, without emitting anything."""
        self.wanted = {}
        with self.w.dry_run():
            ask()
        wanted, self.wanted = list(self.wanted), None
        return wanted

    def symbol(self, names: Names) -> Affine:
        """An index whose value is data: `names` are index values."""
        if names.is_vector:
            raise NotVectorizable("an index that differs from lane to lane")
        if len(names.rows) == 1:
            name = names.rows[0]
        else:
            name = "rows:" + ",".join(names.rows)
            self.row_symbols[name] = names.rows
        return _sum([(name, 1)])

    def flat(self, value: Value, groups: list[tuple[list[int], Affine]]) -> Names:
        """A stored value at an index given for groups of neighbouring axes."""
        home = self.homes[value]
        total = home.base
        for axes, position in groups:
            total = total + position * home.strides[axes[-1]]
        return self.read(home, total)


def linear(shape: tuple[int, ...], index: list[Affine]) -> Affine:
    """Several indexes as one, row-major."""
    total = Affine()
    for position, stride in zip(index, row_major(shape), strict=True):
        total = total + position * stride
    return total


def _sum(terms: list[tuple[str, int]]) -> Affine:
    total = Affine()
    for name, factor in terms:
        total = total + Affine(terms=((name, factor),))
    return total
