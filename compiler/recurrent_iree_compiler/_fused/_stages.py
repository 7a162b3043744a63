"""Cutting the cell into loops: which values are stored.

A value is stored if it leaves the cell, if another operation needs all of it at once (products,
reductions, lookups), or if two loops would otherwise do expensive work twice. All else is
element-wise work that is fused into the loop that needs it.
"""

from __future__ import annotations

from collections import defaultdict

from ._dataflow import Dataflow
from ._elementwise import ELEMENTWISE, check
from ._ir import Cell, Op, Refused, Value
from ._levels import group
from ._shapes import product_axes, reshape_groups

_BARRIERS = {
    "dot_general": (0, 1),
    "gather": (0,),
    "dynamic_slice": (0,),
    "dynamic_update_slice": (1,),
}
_MOVES = frozenset(
    "broadcast_in_dim reshape transpose slice reverse iota concatenate pad reduce".split()
)


class Stages(Dataflow):
    """The loops of one step of `cell`, in order, and the values that have a buffer."""

    def __init__(self, cell: Cell, batch: dict[Value, int]) -> None:
        super().__init__(cell, batch)
        for op in cell.ops:
            self._check(op)
        self._store_barriers()
        while self._store_more():
            pass
        self.loops = group(self, self._root_values())

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

    def _store_more(self) -> bool:
        changed = False
        for op in self.cell.ops:
            if op.kind == "broadcast_in_dim" and not self.same_lanes(op, op.operands[0]):
                if self.is_costly(op.operands[0]):
                    changed |= self._store(op.operands[0], "repeated by a broadcast")
            if op.kind in ("reduce", "concatenate", "pad", "dynamic_update_slice"):
                for operand in op.operands:
                    if self.has_product(operand):
                        changed |= self._store(operand, f"product read by {op.kind}")
        for root in self._root_values():
            if root in self.makers:
                for value, _, direct in list(self.walk(root, True)):
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
        for number, loop in enumerate(group(self, self._root_values())):
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


def _merges(op: Op) -> bool:
    """Whether several axes of the operand become one, or axes are regrouped."""
    groups = reshape_groups(op.operands[0].shape, op.result.shape)
    return any(len(source) > 1 for source, _ in groups)
