"""Products: sums over the contracted axes, several at once so that they share what they read.

Lanes lie along the result (one operand is read as vectors, the other is repeated over the lanes)
or, where a result has no lanes, along the contracted axis. Weights are read from packed copies, in
the order in which the loop needs them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ._carried import carried_loop, segments, unroll
from ._casts import convert
from ._chain import start_of
from ._elementwise import Lanes
from ._evaluate import Evaluator, Index, Names
from ._index import ZERO, Affine
from ._ir import Op, Value
from ._packing import Packed, Packer
from ._shapes import product_axes
from ._writer import compute_dtype, is_float, vector

_UNROLL = 2


@dataclass(frozen=True)
class _Term:
    """One product that is asked for."""

    op: Op
    index: Index

    @property
    def sizes(self) -> tuple[int, ...]:
        lhs, axes = self.op.operands[0], self.op.attrs["lhs_contract"]
        return tuple(lhs.shape[a] for a in axes)

    @property
    def has_lanes(self) -> bool:
        return any(i.lane for i in self.index)

    def at(self, side: int, inner: list[Affine]) -> Index:
        """The index of an operand at a point of the contracted axes."""
        position: list[Affine] = [ZERO] * len(self.op.operands[side].shape)
        offset = self.op.attrs.get("offset", (0,) * len(self.index))
        for sources, i, extra in zip(product_axes(self.op), self.index, offset, strict=True):
            for owner, axis in sources:
                if owner == side:
                    position[axis] = i.plus(extra)
        contract = self.op.attrs[("lhs_contract", "rhs_contract")[side]]
        for axis, i in zip(contract, inner, strict=True):
            position[axis] = i
        return tuple(position)


def _places(ops: list[Op]) -> dict[Op, int]:
    """When each product runs: after the one that its sum begins with.

    One that nothing waits for runs with the last product that reads the same value.
    """
    makers, places = {op.result: op for op in ops}, {}

    def place(op: Op) -> int:
        start = start_of(op)
        return 1 + place(makers[start]) if start in makers else 0

    starts = {start_of(op) for op in ops}
    for op in ops:
        same = [o for o in ops if o.operands[0] is op.operands[0]]
        places[op] = place(op) if op.result in starts else max(place(o) for o in same)
    return places


class Products:
    """Emits the products that a tile asks for, before the tile itself is evaluated."""

    def __init__(self, ev: Evaluator, packer: Packer) -> None:
        self.ev = ev
        self.packer = packer

    def emit(self, wanted: list[tuple[Op, Index]]) -> None:
        groups: dict[tuple[int, tuple[int, ...], bool], list[_Term]] = defaultdict(list)
        places = _places([op for op, _ in wanted])
        for op, index in wanted:
            term = _Term(op, index)
            groups[places[op], term.sizes, term.has_lanes].append(term)
        for (_, sizes, has_lanes), terms in sorted(groups.items(), key=lambda item: item[0][0]):
            if has_lanes:
                self._along_result(terms, sizes)
            else:
                for term in terms:
                    self._along_contraction(term)

    def _count(self, term: _Term) -> int:
        return len(self.ev.block.local) if self.ev.stages.has_rows(term.op.result) else 1

    def _along_result(self, terms: list[_Term], sizes: tuple[int, ...]) -> None:
        ev, w = self.ev, self.ev.w
        kinds = [compute_dtype(t.op.result.dtype) for t in terms]
        counts = [self._count(t) for t in terms]
        starts = [s for t, c in zip(terms, counts, strict=True) for s in self._starts(t, c)]
        types = [vector(k, ev.lanes) for k, c in zip(kinds, counts, strict=True) for _ in range(c)]
        packs = self.packer.plan(ev.stages, terms, sizes)
        step = unroll(sizes[-1], _UNROLL) if sizes else 1

        def nest(depth: int, outer: list[Affine], values: list[str]) -> list[str]:
            if depth == len(sizes):
                return self._accumulate(terms, outer, values, packs)
            last = depth == len(sizes) - 1
            stride = step if last else 1
            with carried_loop(w, sizes[depth], stride, values, types) as (k, carried):
                values = carried.values
                for n in range(stride):
                    values = nest(depth + 1, [*outer, k.plus(n)], values)
                carried.after = values
            return carried.after

        results = nest(0, [], starts)
        for term, count, pack in zip(terms, counts, packs, strict=True):
            names, results = results[:count], results[count:]
            if pack is not None and pack.scale is not None:
                names = self._scaled(term, names, pack.scale)
            w.remember((term.op.result, term.index), Names(tuple(names), True))

    def _starts(self, term: _Term, count: int) -> list[str]:
        """What the sums of `term` begin with, one for each row."""
        start, width = start_of(term.op), self.ev.lanes if term.has_lanes else 0
        if start is None:
            return [self.ev.w.constant(0, compute_dtype(term.op.result.dtype), width)] * count
        names = self.ev.get(start, term.index)
        names = self.ev.spread(names, start.dtype) if term.has_lanes else names
        return [names.rows[row % len(names.rows)] for row in range(count)]

    def _scaled(self, term: _Term, sums: list[str], scale: Packed) -> list[str]:
        """The sums of whole numbers as what they stand for."""
        (by,) = self.ev.read(scale.buffer, scale.at([])).rows
        out = vector(compute_dtype(term.op.result.dtype), self.ev.lanes)
        return [self.ev.w.op(f"arith.mulf {s}, {by} : {out}") for s in sums]

    def _accumulate(
        self, terms: list[_Term], inner: list[Affine], values: list[str], packs: list[Packed | None]
    ) -> list[str]:
        after = []
        rest = list(values)
        for term, pack in zip(terms, packs, strict=True):
            count = self._count(term)
            sides = [self._operand(term, side, inner, pack) for side in (0, 1)]
            for row in range(count):
                a, b = (s.rows[row % len(s.rows)] for s in sides)
                after.append(self._add(term, rest[row], a, b, self.ev.lanes))
            rest = rest[count:]
        return after

    def _operand(self, term: _Term, side: int, inner: list[Affine], pack: Packed | None) -> Names:
        ev = self.ev
        value = term.op.operands[side]
        if pack is not None and pack.side == side:
            value, names = pack.buffer.value, ev.read(pack.buffer, pack.at(inner))
        else:
            names = ev.get(value, term.at(side, inner))
        return ev.spread(self._as_result(term, value, names, ev.lanes), term.op.result.dtype)

    def _as_result(self, term: _Term, value: Value, names: Names, width: int) -> Names:
        """`names` in the type in which the product is summed."""
        target = term.op.result.dtype
        if compute_dtype(value.dtype) == compute_dtype(target):
            return names
        lanes = Lanes(self.ev.w, width if names.is_vector else 0)
        rows = (convert(lanes, value.dtype, target, n) for n in names.rows)
        return Names(tuple(rows), names.is_vector)

    def _add(self, term: _Term, total: str, a: str, b: str, lanes: int) -> str:
        kind = compute_dtype(term.op.result.dtype)
        out = vector(kind, lanes)
        if is_float(kind):
            product = self.ev.w.op(f"arith.mulf {a}, {b} fastmath<contract> : {out}")
            return self.ev.w.op(f"arith.addf {total}, {product} fastmath<contract> : {out}")
        product = self.ev.w.op(f"arith.muli {a}, {b} : {out}")
        return self.ev.w.op(f"arith.addi {total}, {product} : {out}")

    def _along_contraction(self, term: _Term) -> None:
        """One element of the result for each row: lanes along the last contracted axis."""
        w = self.ev.w
        width = self.packer.lanes if self._is_dense(term) else 1
        totals = self._starts(term, self._count(term))
        parts = segments(term.sizes[-1], width) if term.sizes else segments(1, 1)
        for part in parts:
            totals = self._dot_segment(term, part.start, part.tiles, part.lanes, totals)
        w.remember((term.op.result, term.index), Names(tuple(totals), False))

    def _is_dense(self, term: _Term) -> bool:
        if not term.sizes:
            return False
        strides = []
        for value, key in zip(term.op.operands, ("lhs_contract", "rhs_contract"), strict=False):
            home = self.ev.homes[value]
            strides.append(home.strides[term.op.attrs[key][-1]])
        return strides == [1, 1]

    def _dot_segment(
        self, term: _Term, start: int, tiles: int, lanes: int, totals: list[str]
    ) -> list[str]:
        w = self.ev.w
        kind = compute_dtype(term.op.result.dtype)
        width = lanes if lanes > 1 else 0
        out = vector(kind, width)
        zeros = [w.constant(0, kind, width)] * len(totals)
        sizes = [*term.sizes[:-1], tiles] if term.sizes else [1]

        def nest(depth: int, outer: list[Affine], values: list[str]) -> list[str]:
            if depth == len(sizes):
                inner = outer[:-1] if term.sizes else []
                if term.sizes:
                    lane = 1 if width else 0
                    inner = [*inner, outer[-1] * lanes + Affine(start, lane=lane)]
                return self._multiply(term, inner, values, width)
            with carried_loop(w, sizes[depth], 1, values, [out] * len(values)) as (k, carried):
                carried.after = nest(depth + 1, [*outer, k], carried.values)
            return carried.after

        sums = nest(0, [], zeros)
        if width:
            sums = [w.op(f"vector.reduction <add>, {s} : {out} into {kind}") for s in sums]
        add = "arith.addf" if is_float(kind) else "arith.addi"
        return [w.op(f"{add} {t}, {s} : {kind}") for t, s in zip(totals, sums, strict=True)]

    def _multiply(
        self, term: _Term, inner: list[Affine], values: list[str], width: int
    ) -> list[str]:
        ev = self.ev
        sides = []
        for side in (0, 1):
            value = term.op.operands[side]
            home = ev.homes[value]
            names = ev.read(home, home.at(term.at(side, inner)), width)
            sides.append(self._as_result(term, value, names, width).rows)
        return [
            self._add(term, total, sides[0][r % len(sides[0])], sides[1][r % len(sides[1])], width)
            for r, total in enumerate(values)
        ]
