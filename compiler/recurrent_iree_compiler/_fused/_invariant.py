"""Moving out of the loop what no step changes.

What depends only on constants is computed once, outside the kernel, by clones of its own
operations. Only what costs nothing to make again stays in the loop: splats, iota, and broadcasts
(whose result would be larger than what it is made of).
"""

from __future__ import annotations

from ._any_rows import is_whole
from ._ir import Cell, Op, Value

_KEEPS_SPLAT = frozenset(
    {"broadcast_in_dim", "reshape", "transpose", "slice", "reverse", "optimization_barrier"}
)


def hoist(cell: Cell) -> None:
    """Split the operations of `cell` into `cell.outside` and those of the loop, in place."""
    _fold_splats(cell)
    changing = _changing(cell)
    producers = cell.producers()
    kept: dict[Op, None] = {}
    leaves: dict[Value, None] = {}
    pending = list(cell.outputs())
    seen: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in seen or value in cell.splats:
            continue
        seen.add(value)
        op = producers.get(value)
        if value not in changing and not _is_cheap(op):
            leaves[value] = None
        elif op is not None:
            kept[op] = None
            pending.extend(op.operands)
    fixed = {c: None for c in cell.consts}
    outer = _ancestors(cell, [v for v in leaves if v in producers], producers)
    cell.outside = [op for op in cell.ops if op in outer]
    cell.ops = [op for op in cell.ops if op in kept]
    order = [*fixed, *cell.carry, *(v for op in cell.outside for v in op.results)]
    cell.consts = [v for v in order if v in leaves]


def passed_through(cell: Cell) -> dict[int, int]:
    """The carries that no step changes: index of the output -> index of the argument it is."""
    same = {}
    for index, (before, after) in enumerate(zip(cell.carry, cell.carry_out, strict=True)):
        if before is after:
            same[index] = index
    return same


def _fold_splats(cell: Cell) -> None:
    for op in cell.ops:
        if op.kind in _KEEPS_SPLAT and op.operands[0] in cell.splats:
            cell.splats[op.result] = cell.splats[op.operands[0]]
    for op in cell.ops:
        if op.kind == "dot_general":
            for operand in op.operands:
                cell.splats.pop(operand, None)


def _changing(cell: Cell) -> set[Value]:
    same = passed_through(cell)
    changing = {v for i, v in enumerate(cell.carry) if i not in same} | set(cell.xs)
    for op in cell.ops:
        rows = any(is_whole(cell, v) for v in (*op.operands, *op.results))
        if rows or any(v in changing for v in op.operands):
            changing.update(op.results)
    return changing


def _is_cheap(op: Op | None) -> bool:
    if op is None:
        return False
    if op.kind == "broadcast_in_dim":
        return op.result.size > op.operands[0].size
    return op.kind == "iota"


def _ancestors(cell: Cell, values: list[Value], producers: dict[Value, Op]) -> set[Op]:
    found: set[Op] = set()
    pending = list(values)
    while pending:
        op = producers.get(pending.pop())
        if op is not None and op not in found:
            found.add(op)
            pending.extend(op.operands)
    return found
