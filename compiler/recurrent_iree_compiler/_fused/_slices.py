"""Pushing slices towards the products that they cut, so that each gate has a product of its own.

``split(x + h @ U)`` becomes ``x_i + (h @ U)_i``: every loop then computes just the columns that it
needs. This happens only where all users of a value are slices that do not overlap.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from ._elementwise import ELEMENTWISE
from ._ir import Cell, Op, Value


def push_slices(cell: Cell) -> None:
    """Rewrite `cell.ops` in place until no slice can move further down."""
    pusher = _Pusher(cell)
    while pusher.step():
        pass
    cell.ops = _live(cell, pusher.ops)


class _Pusher:
    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.ops = list(cell.ops)
        self.counter = 0

    def step(self) -> bool:
        users: dict[Value, list[Op]] = defaultdict(list)
        for op in self.ops:
            for operand in dict.fromkeys(op.operands):
                users[operand].append(op)
        outputs = set(self.cell.outputs())
        for position, op in enumerate(self.ops):
            if len(op.results) != 1 or op.result in outputs or not _can_split(op):
                continue
            cuts = users[op.result]
            if cuts and all(u.kind == "slice" for u in cuts) and _disjoint(cuts):
                made = {cut.result: self.cut(op, cut) for cut in cuts}
                self.rewrite(position, op, made)
                return True
        return False

    def cut(self, op: Op, cut: Op) -> tuple[list[Op], Value]:
        """The operations that compute only the part `cut` of `op`."""
        start = cut.attrs["start"]
        if op.kind == "dot_general":
            offset = op.attrs.get("offset", (0,) * len(start))
            attrs = dict(op.attrs, offset=tuple(a + b for a, b in zip(offset, start, strict=True)))
            return [replace(op, results=(self.like(cut.result),), attrs=attrs)], cut.result
        new: list[Op] = []
        operands = []
        for operand in op.operands:
            if operand.shape == op.result.shape:
                part = self.like(cut.result, operand.dtype)
                if operand in self.cell.splats:
                    self.cell.splats[part] = self.cell.splats[operand]
                else:
                    new.append(replace(cut, operands=(operand,), results=(part,)))
                operands.append(part)
            else:
                operands.append(operand)
        new.append(replace(op, operands=tuple(operands), results=(self.like(cut.result),)))
        return new, cut.result

    def like(self, value: Value, dtype: str | None = None) -> Value:
        self.counter += 1
        return Value(f"{value.name}s{self.counter}", value.shape, dtype or value.dtype)

    def rewrite(self, position: int, op: Op, made: dict[Value, tuple[list[Op], Value]]) -> None:
        renamed = {old: new[-1].result for old, (new, _) in made.items()}
        parts = [o for new, _ in made.values() for o in new]
        ops = [*self.ops[:position], *parts, *self.ops[position + 1 :]]
        ops = [o for o in ops if not (o.kind == "slice" and o.operands[0] is op.result)]
        self.ops = [replace(o, operands=tuple(renamed.get(v, v) for v in o.operands)) for o in ops]
        cell = self.cell
        cell.carry_out = [renamed.get(v, v) for v in cell.carry_out]
        cell.ys = [renamed.get(v, v) for v in cell.ys]


def _can_split(op: Op) -> bool:
    if op.kind == "dot_general":
        return True
    return (
        op.kind in ELEMENTWISE
        and op.kind != "select"
        or (op.kind == "select" and op.operands[0].shape == op.result.shape)
    )


def _disjoint(cuts: list[Op]) -> bool:
    """Whether the slices have unit steps, differ along one axis only and do not overlap."""
    if any(step != 1 for cut in cuts for step in cut.attrs["strides"]):
        return False
    windows = [tuple(zip(c.attrs["start"], c.attrs["limit"], strict=True)) for c in cuts]
    axes = [axis for axis, parts in enumerate(zip(*windows, strict=True)) if len(set(parts)) > 1]
    if len(axes) > 1:
        return False
    if not axes:
        return len(cuts) == 1
    ranges = sorted(w[axes[0]] for w in windows)
    return all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))


def _live(cell: Cell, ops: list[Op]) -> list[Op]:
    needed = set(cell.outputs())
    kept = []
    for op in reversed(ops):
        if any(v in needed for v in op.results):
            kept.append(op)
            needed.update(op.operands)
    return kept[::-1]
