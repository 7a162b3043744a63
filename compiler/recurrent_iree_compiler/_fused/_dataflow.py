"""What the values of a cell are computed from, and how they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator

from ._any_rows import is_whole
from ._chain import start_of
from ._elementwise import ELEMENTWISE, EXPENSIVE
from ._ir import Cell, Op, Value, row_major


class Dataflow:
    """The values of one step of `cell`, of which those in `reasons` are stored.

    Attributes:
        batch: the axis of the rows, of each value that has them.
        makers: the operation that makes each value.
        leaves: values that are there when the step begins.
        reasons: why each value is stored.
    """

    def __init__(self, cell: Cell, batch: dict[Value, int]) -> None:
        self.cell = cell
        self.batch = batch
        self.makers = cell.producers()
        self.leaves = {*cell.consts, *cell.carry, *cell.xs}
        self.reasons: dict[Value, str] = {}

    def stored(self, value: Value) -> bool:
        return value in self.reasons

    def has_rows(self, value: Value) -> bool:
        return value in self.batch

    def lane_shape(self, value: Value) -> tuple[int, ...]:
        """The shape without the batch axis and without axes of size one."""
        skip = self.batch.get(value)
        return tuple(n for a, n in enumerate(value.shape) if a != skip and n != 1)

    def is_weight(self, value: Value) -> bool:
        return value in self.cell.consts and value not in self.batch

    def lane_stride(self, value: Value, axis: int) -> int:
        """The step in memory along `axis` of a stored value or an argument."""
        shape = list(value.shape)
        apart = value not in self.leaves or value in self.cell.carry
        if apart or is_whole(self.cell, value):
            if value in self.batch:
                shape[self.batch[value]] = 1
        return row_major(tuple(shape))[axis]

    def walk(self, start: Value, direct: bool) -> Iterator[tuple[Value, bool, bool]]:
        """What `start` is computed from, down to stored values: (value, same index, direct)."""
        seen: set[tuple[Value, bool, bool]] = set()
        pending = [
            (v, *self._edge(self.makers[start], v, True, direct)) for v in self.inputs(start)
        ]
        while pending:
            item = pending.pop()
            if item in seen:
                continue
            seen.add(item)
            yield item
            value, same, straight = item
            if value in self.makers and not self.stored(value):
                op = self.makers[value]
                pending.extend((v, *self._edge(op, v, same, straight)) for v in op.operands)

    def inputs(self, value: Value) -> tuple[Value, ...]:
        """The operands of what makes `value`."""
        op = self.makers.get(value)
        return op.operands if op else ()

    def _edge(self, op: Op, operand: Value, same: bool, direct: bool) -> tuple[bool, bool]:
        fits = op.kind in ELEMENTWISE or operand is start_of(op)
        fits = fits and operand.shape == op.result.shape
        straight = fits or (
            (op.kind == "slice" and op.attrs["strides"][-1] == 1)
            or (op.kind in ("reshape", "broadcast_in_dim") and self.same_lanes(op, operand))
        )
        return same and fits, direct and straight

    def same_lanes(self, op: Op, operand: Value) -> bool:
        """Whether the result has the rows and lanes of `operand`."""
        return self.lane_shape(operand) == self.lane_shape(op.result) and (
            self.has_rows(operand) == self.has_rows(op.result)
        )

    def is_costly(self, value: Value) -> bool:
        """Whether computing `value` from stored ones takes a product or a transcendental."""
        if self.stored(value) or value not in self.makers:
            return False
        op = self.makers[value]
        if op.kind == "dot_general" or op.kind in EXPENSIVE:
            return True
        return any(self.is_costly(v) for v in op.operands)

    def has_product(self, value: Value) -> bool:
        """Whether computing `value` from stored ones takes a product."""
        if self.stored(value) or value not in self.makers:
            return False
        op = self.makers[value]
        return op.kind == "dot_general" or any(self.has_product(v) for v in op.operands)
