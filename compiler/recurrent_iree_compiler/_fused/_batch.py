"""Finding the batch axis: the axis along which no value of one row touches another row.

Axes of operands and results that an operation maps one to one are joined into classes; an axis that
is contracted, reduced, cut or indexed spoils its class. The batch is an unspoiled class that leads
at least one carry.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ._elementwise import ELEMENTWISE
from ._ir import Cell, Op, Value
from ._shapes import reshape_groups

Axis = tuple[Value, int]


def find_batch(cell: Cell) -> dict[Value, int]:
    """The batch axis of every value that has one; empty if the cell has no batch axis."""
    classes = _Classes()
    for before, after in zip(cell.carry, cell.carry_out, strict=True):
        for axis in range(len(before.shape)):
            classes.join((before, axis), (after, axis))
    for op in cell.ops:
        _relate(op, classes)
    members: dict[Axis, list[Axis]] = defaultdict(list)
    for axis in _axes(cell):
        members[classes.find(axis)].append(axis)
    best = _best(cell, classes, members)
    batch = dict(members[best]) if best else {}
    if batch and cell.rows:
        _add_parts(cell, classes, members, batch)
    return batch


def _add_parts(
    cell: Cell, classes: _Classes, members: dict[Axis, list[Axis]], batch: dict[Value, int]
) -> None:
    """Add to `batch` the parts of a cell with the same unknown rows that never meet the others."""
    for root, axes in members.items():
        values = {value for value, _ in axes}
        whole = all(value.shape[axis] == cell.rows for value, axis in axes)
        if whole and root not in classes.spoiled and len(values) == len(axes):
            if not values & set(batch):
                batch.update(axes)


def mixing_op(cell: Cell) -> Op | None:
    """The first operation in which a row of a number that is not known may touch another one."""
    for op in cell.ops:
        mapped = {axis for pair in _pairs(op) for axis in pair}
        for value in (v for v in (*op.operands, *op.results) if v not in cell.splats):
            for axis, size in enumerate(value.shape):
                known = (value, axis) in mapped or _harmless(op, value, axis)
                if size >= cell.rows and not known:
                    return op
    return None


class _Classes:
    def __init__(self) -> None:
        self.parent: dict[Axis, Axis] = {}
        self.spoiled: set[Axis] = set()

    def find(self, axis: Axis) -> Axis:
        while self.parent.get(axis, axis) != axis:
            axis = self.parent[axis]
        return axis

    def join(self, a: Axis, b: Axis) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parent[a] = b
            if a in self.spoiled:
                self.spoiled.add(b)

    def spoil(self, axis: Axis) -> None:
        self.spoiled.add(self.find(axis))


def _axes(cell: Cell) -> Iterator[Axis]:
    values = [*cell.consts, *cell.carry, *cell.xs, *(v for op in cell.ops for v in op.results)]
    for value in dict.fromkeys(values):
        for axis in range(len(value.shape)):
            yield value, axis


def _best(cell: Cell, classes: _Classes, members: dict[Axis, list[Axis]]) -> Axis | None:
    """The class with the most carries that it leads (and that have lanes besides it)."""
    votes: Counter[Axis] = Counter()
    deep: set[Axis] = set()
    for value in [*cell.carry, *cell.xs]:
        if not value.shape:
            continue
        axis = classes.find((value, 0))
        if value in cell.carry or not cell.carry:
            votes[axis] += 1
        if value.size > value.shape[0]:
            deep.add(axis)
    for axis, _ in votes.most_common():
        twice = len({v for v, _ in members[axis]}) != len(members[axis])
        sizes = {v.shape[a] for v, a in members[axis]}
        fits = sizes == {cell.rows} if cell.rows else axis in deep and len(sizes) == 1
        if fits and axis not in classes.spoiled and not twice:
            return axis if sizes != {1} else None
    return None


def _relate(op: Op, classes: _Classes) -> None:
    pairs = list(_pairs(op))
    for source, target in pairs:
        classes.join(source, target)
    mapped = {axis for pair in pairs for axis in pair}
    for value in [*op.operands, *op.results]:
        for axis in range(len(value.shape)):
            if (value, axis) not in mapped and not _harmless(op, value, axis):
                classes.spoil((value, axis))


def _harmless(op: Op, value: Value, axis: int) -> bool:
    """A new axis of a broadcast repeats the same value; an axis of size one has one row."""
    if op.kind == "broadcast_in_dim":
        return value is op.result or value.shape[axis] == 1
    if op.kind == "iota":
        return axis != op.attrs["dim"]
    return value.shape[axis] == 1 and op.kind == "reshape"


def _pairs(op: Op) -> Iterator[tuple[Axis, Axis]]:
    if op.kind in ELEMENTWISE:
        for operand in op.operands:
            if operand.shape == op.result.shape:
                for axis in range(len(operand.shape)):
                    yield (operand, axis), (op.result, axis)
    elif op.kind in _PAIRS:
        for operand, axis, target in _PAIRS[op.kind](op):
            for result in op.results:
                yield (operand, axis), (result, target)


Triples = Iterator[tuple[Value, int, int]]


def _broadcast(op: Op) -> Triples:
    for axis, target in enumerate(op.attrs["dims"]):
        if op.operands[0].shape[axis] == op.result.shape[target]:
            yield op.operands[0], axis, target


def _transpose(op: Op) -> Triples:
    for target, axis in enumerate(op.attrs["permutation"]):
        yield op.operands[0], axis, target


def _reshape(op: Op) -> Triples:
    for source, target in reshape_groups(op.operands[0].shape, op.result.shape):
        if len(source) == 1 and len(target) == 1:
            yield op.operands[0], source[0], target[0]


def _slice(op: Op) -> Triples:
    yield from _same_size(op, op.operands[0])


def _same_size(op: Op, operand: Value) -> Triples:
    for axis, (a, b) in enumerate(zip(operand.shape, op.result.shape, strict=True)):
        if a == b:
            yield operand, axis, axis


def _reverse(op: Op) -> Triples:
    for axis in range(len(op.result.shape)):
        if axis not in op.attrs["dims"]:
            yield op.operands[0], axis, axis


def _concatenate(op: Op) -> Triples:
    for operand in op.operands:
        for axis in range(len(operand.shape)):
            if axis != op.attrs["dim"]:
                yield operand, axis, axis


def _reduce(op: Op) -> Triples:
    for operand in op.operands[: len(op.results)]:
        kept = [a for a in range(len(operand.shape)) if a not in op.attrs["dims"]]
        for target, axis in enumerate(kept):
            yield operand, axis, target


def _dot(op: Op) -> Triples:
    lhs, rhs, *starts = op.operands
    at = op.attrs
    for value in starts:
        yield from _same_size(op, value)
    for target, (a, b) in enumerate(zip(at["lhs_batch"], at["rhs_batch"], strict=True)):
        yield lhs, a, target
        yield rhs, b, target
    target = len(at["lhs_batch"])
    for value, fixed in (
        (lhs, (*at["lhs_batch"], *at["lhs_contract"])),
        (rhs, (*at["rhs_batch"], *at["rhs_contract"])),
    ):
        for axis in range(len(value.shape)):
            if axis not in fixed:
                if value.shape[axis] == op.result.shape[target]:
                    yield value, axis, target
                target += 1


def _gather(op: Op) -> Triples:
    operand, indices = op.operands
    at = op.attrs
    batch = [a for a in range(len(op.result.shape)) if a not in at["offset_dims"]]
    sources = [a for a in range(len(indices.shape)) if a != at["index_vector_dim"]]
    for axis, target in zip(sources, batch, strict=True):
        yield indices, axis, target
        if axis in at["indices_batching"]:
            yield operand, at["operand_batching"][at["indices_batching"].index(axis)], target
    window = [
        a
        for a in range(len(operand.shape))
        if a not in at["collapsed"] and a not in at["operand_batching"]
    ]
    for axis, target in zip(window, at["offset_dims"], strict=True):
        if axis not in at["start_index_map"]:
            yield operand, axis, target


def _dynamic_update(op: Op) -> Triples:
    whole, part = op.operands[:2]
    for axis, (a, b) in enumerate(zip(whole.shape, part.shape, strict=True)):
        if a == b:
            yield whole, axis, axis
            yield part, axis, axis


_PAIRS = {
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "reshape": _reshape,
    "slice": _slice,
    "pad": _slice,
    "reverse": _reverse,
    "concatenate": _concatenate,
    "reduce": _reduce,
    "dot_general": _dot,
    "gather": _gather,
    "dynamic_slice": _slice,
    "dynamic_update_slice": _dynamic_update,
}
