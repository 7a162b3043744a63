"""Products with lanes along the contracted axis: one sum for each row, or many side by side.

Many sums are those of a result whose lanes are far apart in an operand, such as the scores of the
keys of a row: gathering these lanes would read each line of the cache once for each number in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._carried import Segment, carried_loop, segments
from ._evaluate import Block, Evaluator, Names
from ._index import ZERO, Affine
from ._lane_sums import LaneSums
from ._terms import Sums, Term
from ._writer import compute_dtype, is_float, vector

_SHORTEST = 4
_MOST_SUMS = 16


class Dots(Sums):
    """Emits products whose operands both lie along the contracted axis."""

    def one(self, term: Term) -> None:
        """One element of the result for each row."""
        w, kind = self.ev.w, compute_dtype(term.op.result.dtype)
        width = self.packer.lanes if _is_dense(self.ev, term) else 1
        totals = self.starts(term, self.count(term))
        add = "arith.addf" if is_float(kind) else "arith.addi"
        for part in segments(term.sizes[-1], width) if term.sizes else segments(1, 1):
            lanes = part.lanes if part.lanes > 1 else 0
            out = vector(kind, lanes)
            zeros = [w.constant(0, kind, lanes)] * len(totals)
            sums = self._sum([term], part, lanes, lanes, zeros)
            if lanes:
                sums = [w.op(f"vector.reduction <add>, {s} : {out} into {kind}") for s in sums]
            totals = [w.op(f"{add} {t}, {s} : {kind}") for t, s in zip(totals, sums, strict=True)]
        w.remember((term.op.result, term.index), Names(tuple(totals), False))

    def many(self, term: Term) -> None:
        """All lanes of the result: a running sum for each, whose lanes are summed in the end."""
        w, rows, lanes = self.ev.w, self.count(term), self.ev.lanes
        kind = compute_dtype(term.op.result.dtype)
        native = max(1, self.packer.lanes * 32 // int(kind[1:]))
        size = min(lanes, native)
        together = rows if rows * size <= _MOST_SUMS else 1
        found: list[str] = []
        for first in range(0, rows, together):
            with self._only(first, together, rows):
                parts = [self._some(term, n, size, native) for n in range(0, lanes, size)]
            join = LaneSums(w, kind).join
            found.extend(join([p[row] for p in parts], size) for row in range(together))
        add, out = "arith.addf" if is_float(kind) else "arith.addi", vector(kind, lanes)
        starts = self.starts(term, rows)
        done = [w.op(f"{add} {a}, {b} : {out}") for a, b in zip(starts, found, strict=True)]
        w.remember((term.op.result, term.index), Names(tuple(done), True))

    def _some(self, term: Term, first: int, size: int, native: int) -> list[str]:
        """For each row, a vector of the `size` lanes from `first` on."""
        w, rows = self.ev.w, self.count(term)
        kind = compute_dtype(term.op.result.dtype)
        parts = segments(term.sizes[-1], native)
        width = parts[0].lanes
        terms = [term.at_lane(first + n) for n in range(size)]
        sums = [w.constant(0, kind, width)] * (size * rows)
        for part in parts:
            sums = self._sum(terms, part, part.lanes, width, sums)
        across = LaneSums(w, kind)
        return [across.of(sums[row::rows], width) for row in range(rows)]

    def _sum(
        self, terms: list[Term], part: Segment, lanes: int, width: int, values: list[str]
    ) -> list[str]:
        """`values` and the products over a part of the contracted axis, for each term and row."""
        sizes = terms[0].sizes
        loops = [*sizes[:-1], part.tiles] if sizes else [1]
        types = [vector(compute_dtype(terms[0].op.result.dtype), width)] * len(values)

        def nest(depth: int, outer: list[Affine], values: list[str]) -> list[str]:
            if depth == len(loops):
                inner = outer[:-1] if sizes else []
                if sizes:
                    last = outer[-1] * part.lanes + Affine(part.start, lane=1 if lanes else 0)
                    inner = [*inner, last]
                return self._multiply(terms, inner, values, lanes, width)
            with carried_loop(self.ev.w, loops[depth], 1, values, types) as (k, carried):
                carried.after = nest(depth + 1, [*outer, k], carried.values)
            return carried.after

        return nest(0, [], values)

    def _multiply(
        self, terms: list[Term], inner: list[Affine], values: list[str], lanes: int, width: int
    ) -> list[str]:
        after: list[str] = []
        for number, term in enumerate(terms):
            count = len(values) // len(terms)
            a, b = (self._load(term, side, inner, lanes, width) for side in (0, 1))
            for row, total in enumerate(values[number * count : (number + 1) * count]):
                after.append(self.add(term, total, a[row % len(a)], b[row % len(b)], width))
        return after

    def _load(
        self, term: Term, side: int, inner: list[Affine], lanes: int, width: int
    ) -> tuple[str, ...]:
        """An operand for each row, with zeros behind the lanes that it has."""
        value = term.op.operands[side]
        home = self.ev.homes[value]
        names = self.ev.read(home, home.at(term.at(side, inner)), lanes)
        names = self.as_result(term, value, names, lanes).rows
        if lanes == width:
            return names
        kind = compute_dtype(term.op.result.dtype)
        zero = self.ev.w.constant(0, kind, lanes)
        mask = [min(n, lanes) for n in range(width)]
        types = f"{vector(kind, lanes)}, {vector(kind, lanes)}"
        return tuple(self.ev.w.op(f"vector.shuffle {n}, {zero} {mask} : {types}") for n in names)

    @contextmanager
    def _only(self, first: int, count: int, rows: int) -> Iterator[None]:
        """Only so many rows of the block."""
        whole = self.ev.block
        if count < rows:
            part = slice(first, first + count)
            self.ev.block = Block(whole.local[part], whole.whole[part])
        yield
        self.ev.block = whole


def is_apart(ev: Evaluator, term: Term) -> bool:
    """Whether lanes of the result are apart in an operand whose contracted axis is in order."""
    values = term.op.operands[:2]
    if not term.has_lanes or not term.sizes or term.sizes[-1] < _SHORTEST:
        return False
    if any(v not in ev.homes or ev.stages.is_weight(v) for v in values):
        return False
    start: list[Affine] = [ZERO] * len(term.sizes)
    places = [ev.homes[v].at(term.at(side, start)) for side, v in enumerate(values)]
    by_row = any(name in ev.row_symbols for place in places for name, _ in place.terms)
    return not by_row and any(place.lane > 1 for place in places) and _is_dense(ev, term)


def _is_dense(ev: Evaluator, term: Term) -> bool:
    """Whether the last contracted axis lies in order in both operands."""
    if not term.sizes:
        return False
    strides = []
    for value, key in zip(term.op.operands, ("lhs_contract", "rhs_contract"), strict=False):
        strides.append(ev.homes[value].strides[term.op.attrs[key][-1]])
    return strides == [1, 1]
