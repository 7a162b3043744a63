"""Products that a tile asks for, and what every way to sum them needs."""

from __future__ import annotations

from dataclasses import dataclass

from ._casts import convert
from ._chain import start_of
from ._elementwise import Lanes
from ._evaluate import Evaluator, Index, Names
from ._index import ZERO, Affine
from ._ir import Op, Value
from ._packing import Packer
from ._shapes import product_axes
from ._writer import compute_dtype, is_float, vector


@dataclass(frozen=True)
class Term:
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

    def at_lane(self, lane: int) -> Term:
        """The same product for one lane of the result."""
        index = (Affine(i.const + i.lane * lane, i.terms, i.row) for i in self.index)
        return Term(self.op, tuple(index))

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


class Sums:
    """What emits sums of products for the rows and lanes of an evaluator."""

    def __init__(self, ev: Evaluator, packer: Packer) -> None:
        self.ev = ev
        self.packer = packer

    def count(self, term: Term) -> int:
        """Rows of the result that are computed together."""
        return len(self.ev.block.local) if self.ev.stages.has_rows(term.op.result) else 1

    def starts(self, term: Term, count: int) -> list[str]:
        """What the sums of `term` begin with, one for each row."""
        start, width = start_of(term.op), self.ev.lanes if term.has_lanes else 0
        if start is None:
            return [self.ev.w.constant(0, compute_dtype(term.op.result.dtype), width)] * count
        names = self.ev.get(start, term.index)
        names = self.ev.spread(names, start.dtype) if term.has_lanes else names
        return [names.rows[row % len(names.rows)] for row in range(count)]

    def as_result(self, term: Term, value: Value, names: Names, width: int) -> Names:
        """`names` in the type in which the product is summed."""
        target = term.op.result.dtype
        if compute_dtype(value.dtype) == compute_dtype(target):
            return names
        lanes = Lanes(self.ev.w, width if names.is_vector else 0)
        rows = (convert(lanes, value.dtype, target, n) for n in names.rows)
        return Names(tuple(rows), names.is_vector)

    def add(self, term: Term, total: str, a: str, b: str, lanes: int) -> str:
        """`total` and the product of `a` and `b`."""
        kind = compute_dtype(term.op.result.dtype)
        out = vector(kind, lanes)
        if is_float(kind):
            product = self.ev.w.op(f"arith.mulf {a}, {b} fastmath<contract> : {out}")
            return self.ev.w.op(f"arith.addf {total}, {product} fastmath<contract> : {out}")
        product = self.ev.w.op(f"arith.muli {a}, {b} : {out}")
        return self.ev.w.op(f"arith.addi {total}, {product} : {out}")
