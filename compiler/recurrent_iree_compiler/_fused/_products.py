"""Products: sums over the contracted axes, several at once so that they share what they read.

Lanes lie along the result (one operand is read as vectors, the other is repeated over the lanes)
or, where a result has no lanes or they are apart in memory, along the contracted axis (`_dots.py`).
Weights are read from packed copies, in the order in which the loop needs them.
"""

from __future__ import annotations

from collections import defaultdict

from ._buffers import LINE, element_bytes
from ._carried import carried_loop, unroll
from ._chain import start_of
from ._dots import Dots, is_apart
from ._evaluate import Index, Names
from ._index import Affine
from ._ir import Op
from ._late import define_late
from ._packing import Packed
from ._terms import Sums, Term
from ._writer import compute_dtype, vector

_UNROLL = 2


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


class Products(Sums):
    """Emits the products that a tile asks for, before the tile itself is evaluated."""

    def emit(self, wanted: list[tuple[Op, Index]]) -> None:
        groups: dict[tuple[int, tuple[int, ...], bool], list[Term]] = defaultdict(list)
        places = _places([op for op, _ in wanted])
        for op, index in wanted:
            term = Term(op, index)
            groups[places[op], term.sizes, term.has_lanes].append(term)
        for (_, sizes, has_lanes), terms in sorted(groups.items(), key=lambda item: item[0][0]):
            dots = Dots(self.ev, self.packer)
            if has_lanes:
                apart = [term for term in terms if is_apart(self.ev, term)]
                for term in apart:
                    dots.many(term)
                self._along_result([t for t in terms if t not in apart], sizes)
            else:
                for term in terms:
                    dots.one(term)

    def _along_result(self, terms: list[Term], sizes: tuple[int, ...]) -> None:
        if not terms:
            return
        ev, w = self.ev, self.ev.w
        kinds = [compute_dtype(t.op.result.dtype) for t in terms]
        counts = [self.count(t) for t in terms]
        starts = [s for t, c in zip(terms, counts, strict=True) for s in self.starts(t, c)]
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

    def _scaled(self, term: Term, sums: list[str], scale: Packed) -> list[str]:
        """The sums of whole numbers as what they stand for."""
        (by,) = self.ev.read(scale.buffer, scale.at([])).rows
        out = vector(compute_dtype(term.op.result.dtype), self.ev.lanes)
        return [self.ev.w.op(f"arith.mulf {s}, {by} : {out}") for s in sums]

    def _accumulate(
        self, terms: list[Term], inner: list[Affine], values: list[str], packs: list[Packed | None]
    ) -> list[str]:
        counts = [self.count(term) for term in terms]
        begun = len(self.ev.w.lines)
        sides = [
            [self._operand(term, side, inner, pack) for side in (0, 1)]
            for term, pack in zip(terms, packs, strict=True)
        ]
        order = [(n, row) for n, count in enumerate(counts) for row in range(count)]
        if max(counts) > len(terms):  # what is fewer, rows or weights, stays in registers
            order.sort(key=lambda each: each[1])
        starts = [sum(counts[:n]) for n in range(len(counts))]
        after = list(values)
        for n, row in order:
            a, b = (s.rows[row % len(s.rows)] for s in sides[n])
            place = starts[n] + row
            after[place] = self.add(terms[n], values[place], a, b, self.ev.lanes)
        define_late(self.ev.w.lines, begun, [after[starts[n] + row] for n, row in order])
        return after

    def _operand(self, term: Term, side: int, inner: list[Affine], pack: Packed | None) -> Names:
        ev = self.ev
        value = term.op.operands[side]
        if pack is not None and pack.side == side:
            value, names = pack.buffer.value, ev.read(pack.buffer, pack.at(inner))
            if self.packer.ahead:
                self._prefetch(pack, pack.at(inner))
        else:
            names = ev.get(value, term.at(side, inner))
        return ev.spread(self.as_result(term, value, names, ev.lanes), term.op.result.dtype)

    def _prefetch(self, pack: Packed, at: Affine) -> None:
        """Ask for the cache line that a loop over packed weights needs some turns later."""
        w, buffer = self.ev.w, pack.buffer
        size = element_bytes(buffer.storage)
        if at.const * size % LINE == 0:
            there = w.address(Affine(at.const + self.packer.ahead // size, at.terms))
            how = "read, locality<3>, data"
            w.line(f"memref.prefetch {buffer.name}[{there}], {how} : {buffer.type}")
