"""Cutting the cell into loops: which values are stored, and which loop computes them.

A value is stored if it leaves the cell, if another operation needs all of it at once (products,
reductions, lookups), or if two loops would otherwise do expensive work twice. All else is
element-wise work that is fused into the loop that needs it. A loop is level `n` if it reads what
loops of level `n - 1` stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._any_rows import is_whole
from ._chain import start_of
from ._elementwise import ELEMENTWISE, EXPENSIVE, check
from ._ir import Cell, Op, Refused, Value, row_major
from ._shapes import reshape_groups

_BARRIERS = {
    "dot_general": (0, 1),
    "gather": (0,),
    "dynamic_slice": (0,),
    "dynamic_update_slice": (1,),
}
_MOVES = frozenset(
    "broadcast_in_dim reshape transpose slice reverse iota concatenate pad reduce".split()
)


@dataclass(frozen=True)
class Root:
    """A value that a loop stores. `parts` are set for a value that is put together from others."""

    value: Value
    op: Op | None

    @property
    def is_reduction(self) -> bool:
        return self.op is not None and self.op.kind == "reduce"

    @property
    def is_assembled(self) -> bool:
        return self.op is not None and self.op.kind in ("concatenate", "pad")


@dataclass
class Loop:
    """Roots that are computed together: one nest over `space`, for each row or once."""

    level: int
    space: tuple[int, ...]
    rows: bool
    kind: str
    roots: list[Root] = field(default_factory=list)
    inside: set[Value] = field(default_factory=set)


class Stages:
    """The loops of one step of `cell`, in order, and the values that have a buffer."""

    def __init__(self, cell: Cell, batch: dict[Value, int]) -> None:
        self.cell = cell
        self.batch = batch
        self.makers = cell.producers()
        for op in cell.ops:
            self._check(op)
        self.leaves = {*cell.consts, *cell.carry, *cell.xs}
        self.reasons: dict[Value, str] = {}
        self._store_barriers()
        while self._store_more():
            pass
        self.loops = self._group()

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

    def _check(self, op: Op) -> None:
        if op.kind in ELEMENTWISE:
            check(op)
        elif op.kind not in _BARRIERS and op.kind not in _MOVES:
            raise Refused(f"stablehlo.{op.kind}", "no rule for this operation in a kernel")

    def _store(self, value: Value, reason: str) -> bool:
        if value in self.leaves or value in self.cell.splats or value in self.reasons:
            return False
        self.reasons[value] = reason
        return True

    def _store_barriers(self) -> None:
        for value in self.cell.carry_out:
            self._store(value, "state")
        for op in self.cell.ops:
            if op.kind == "reduce":
                for result in op.results:
                    self._store(result, "reduction")
            for position in _BARRIERS.get(op.kind, ()):
                self._store(op.operands[position], f"operand of {op.kind}")
            if op.kind in ("concatenate", "pad") and not self._is_index_pair(op):
                self._store(op.result, "put together from parts")
            if op.kind == "reshape" and _merges(op):
                self._store(op.operands[0], "operand of a reshape")
            if op.kind == "dot_general" and not self._is_friendly(op):
                self._store(op.result, "product along the lanes")

    def _is_index_pair(self, op: Op) -> bool:
        """A concatenation that only feeds the index vectors of gathers is read part by part."""
        users = [o for o in self.cell.ops if op.result in o.operands]
        return (
            op.kind == "concatenate"
            and op.result not in self.cell.outputs()
            and all(
                u.kind == "gather"
                and op.result is u.operands[1]
                and u.operands[0] is not op.result
                and u.attrs["index_vector_dim"] == op.attrs["dim"]
                for u in users
            )
        )

    def _is_friendly(self, op: Op) -> bool:
        """Whether lanes of the product are lanes of one operand in memory."""
        lane = [
            a for a, n in enumerate(op.result.shape) if n != 1 and a != self.batch.get(op.result)
        ]
        if not lane:
            return False
        for side, axis in product_axes(op)[lane[-1]]:
            value = op.operands[side]
            if not self.is_weight(value) and self.lane_stride(value, axis) != 1:
                return False
        return len(product_axes(op)[lane[-1]]) == 1

    def _walk(self, start: Value, direct: bool) -> Iterator[tuple[Value, bool, bool]]:
        """What `start` is computed from, down to stored values: (value, same index, direct)."""
        seen: set[tuple[Value, bool, bool]] = set()
        pending = [
            (v, *self._edge(self.makers[start], v, True, direct)) for v in self._inputs(start)
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

    def _inputs(self, value: Value) -> tuple[Value, ...]:
        op = self.makers.get(value)
        return op.operands if op else ()

    def _edge(self, op: Op, operand: Value, same: bool, direct: bool) -> tuple[bool, bool]:
        fits = op.kind in ELEMENTWISE or operand is start_of(op)
        fits = fits and operand.shape == op.result.shape
        straight = fits or (
            (op.kind == "slice" and op.attrs["strides"][-1] == 1)
            or (op.kind in ("reshape", "broadcast_in_dim") and self._same_lanes(op, operand))
        )
        return same and fits, direct and straight

    def _same_lanes(self, op: Op, operand: Value) -> bool:
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

    def _has_product(self, value: Value) -> bool:
        if self.stored(value) or value not in self.makers:
            return False
        op = self.makers[value]
        return op.kind == "dot_general" or any(self._has_product(v) for v in op.operands)

    def _store_more(self) -> bool:
        changed = False
        for op in self.cell.ops:
            if op.kind == "broadcast_in_dim" and not self._same_lanes(op, op.operands[0]):
                if self.is_costly(op.operands[0]):
                    changed |= self._store(op.operands[0], "repeated by a broadcast")
            if op.kind in ("reduce", "concatenate", "pad", "dynamic_update_slice"):
                for operand in op.operands:
                    if self._has_product(operand):
                        changed |= self._store(operand, f"product read by {op.kind}")
        for root in self._root_values():
            if root in self.makers:
                for value, _, direct in list(self._walk(root, True)):
                    maker = self.makers.get(value)
                    if maker and maker.kind == "dot_general" and not direct:
                        changed |= self._store(value, "product read across lanes")
        return changed or self._store_shared()

    def _root_values(self) -> list[Value]:
        order = [v for op in self.cell.ops for v in op.results if self.stored(v)]
        return list(dict.fromkeys([*order, *self.cell.outputs()]))

    def _store_shared(self) -> bool:
        """Store what two loops would compute, where it is costly."""
        users: dict[Value, set[int]] = defaultdict(set)
        for number, loop in enumerate(self._group()):
            for value in loop.inside:
                users[value].add(number)
        changed = False
        outputs = set(self.cell.outputs())
        for op in reversed(self.cell.ops):
            value = op.result
            if len(users[value]) > 1 and self.is_costly(value):
                above = [o for o in self.cell.ops if value in o.operands]
                if value in outputs or any(users[o.result] != users[value] for o in above):
                    changed |= self._store(value, "used by several loops")
        return changed

    def _group(self) -> list[Loop]:
        levels: dict[Value, int] = {}
        loops: dict[tuple[object, ...], Loop] = {}
        for value in self._root_values():
            root = Root(value, self.makers.get(value))
            for each in self._pieces(root):
                loop = self._loop_for(each, root, self._level(value, levels), loops)
                if root not in loop.roots:
                    loop.roots.append(root)
        ordered = sorted(loops.values(), key=lambda loop: loop.level)
        for loop in ordered:
            self._fill(loop)
        return ordered

    def _pieces(self, root: Root) -> list[Value]:
        return [root.value]

    def _loop_for(
        self, value: Value, root: Root, level: int, loops: dict[tuple[object, ...], Loop]
    ) -> Loop:
        space, kind, extra = self.lane_shape(value), "map", None
        if root.is_reduction and root.op:
            space, kind, extra = self.lane_shape(root.op.operands[0]), "reduce", root.op
        elif root.is_assembled:
            kind, extra = "assemble", root.op
        key = (level, space, self.has_rows(value), kind, extra)
        return loops.setdefault(key, Loop(level, space, self.has_rows(value), kind))

    def _level(self, value: Value, levels: dict[Value, int]) -> int:
        if value not in levels:
            maker = self.makers.get(value)
            pointwise = maker is None or maker.kind not in ("reduce", "concatenate", "pad")
            level = 0
            for other, same, _ in self._walk(value, True) if maker else ():
                if self.stored(other):
                    joined = pointwise and same and self._is_map(other)
                    level = max(level, self._level(other, levels) + (0 if joined else 1))
            levels[value] = level
        return levels[value]

    def _is_map(self, value: Value) -> bool:
        return self.makers[value].kind not in ("reduce", "concatenate", "pad")

    def _fill(self, loop: Loop) -> None:
        own = {r.value for r in loop.roots}
        pending = list(own)
        while pending:
            value = pending.pop()
            if value in loop.inside or value in self.leaves:
                continue
            if self.stored(value) and value not in own:
                continue
            loop.inside.add(value)
            pending.extend(self._inputs(value))


def product_axes(op: Op) -> list[list[tuple[int, int]]]:
    """For each axis of a product: the (side, axis) of the operands that it comes from."""
    at = op.attrs
    axes = [[(0, a), (1, b)] for a, b in zip(at["lhs_batch"], at["rhs_batch"], strict=True)]
    for side, name in enumerate(("lhs", "rhs")):
        fixed = (*at[f"{name}_batch"], *at[f"{name}_contract"])
        rank = len(op.operands[side].shape)
        axes.extend([(side, a)] for a in range(rank) if a not in fixed)
    return axes


def _merges(op: Op) -> bool:
    """Whether several axes of the operand become one, or axes are regrouped."""
    groups = reshape_groups(op.operands[0].shape, op.result.shape)
    return any(len(source) > 1 for source, _ in groups)
