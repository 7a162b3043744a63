"""Scales of int8 weights, moved behind the products outside of loops.

``x @ (convert(codes) * scale)`` becomes ``(x @ convert(codes)) * scale``: IREE joins a conversion
with the product that reads it, but would write out the scaled weights at every call.
"""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._fused import Narrow, narrow_of
from recurrent_iree_compiler._fused._attrs import read_attributes
from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import walk


def sink_scales(module: Module) -> int:
    """Rewrite the products of `module` in place; returns how many."""
    count = 0
    with module.context, ir.Location.unknown(module.context):
        for op in list(walk(module.operation)):
            if op.name == "stablehlo.dot_general":
                count += _sink(op)
    return count


def _sink(op: Any) -> bool:
    axes = _Axes(op)
    for side in (0, 1):
        narrow = narrow_of(op.operands[side])
        if narrow is None or narrow.move is not None or narrow.varies is None:
            continue
        if narrow.scale_is_fixed_along(axes.contract[side]):
            _rewrite(op, side, narrow, axes)
            return True
    return False


class _Axes:
    """The axes of a ``dot_general``, left and right."""

    def __init__(self, op: Any) -> None:
        numbers = read_attributes(op, "dot_general")
        self.batch = (numbers["lhs_batch"], numbers["rhs_batch"])
        self.contract = (numbers["lhs_contract"], numbers["rhs_contract"])
        ranks = [len(v.type.shape) for v in op.operands]
        self.free = [
            [a for a in range(rank) if a not in self.batch[s] and a not in self.contract[s]]
            for s, rank in enumerate(ranks)
        ]

    def in_result(self, side: int, axis: int) -> int:
        """Where an axis of an operand is in the result."""
        if axis in self.batch[side]:
            return self.batch[side].index(axis)
        place = len(self.batch[0]) + self.free[side].index(axis)
        return place + (len(self.free[0]) if side == 1 else 0)


def _rewrite(op: Any, side: int, narrow: Narrow, axes: _Axes) -> None:
    """The product of the unscaled numbers, then the scale along the axes of the result."""
    point = ir.InsertionPoint(op)
    kind = op.operands[side].type
    codes = ir.Operation.create(
        "stablehlo.convert", results=[kind], operands=[narrow.codes], ip=point
    )
    spread = narrow.scale.owner.operation
    source = spread.operands[0]
    places = list(ir.DenseI64ArrayAttr(spread.attributes["broadcast_dimensions"]))
    kept = [n for n, place in enumerate(places) if place not in axes.contract[side]]
    if len(kept) < len(places):  # axes of size one along the sum
        sizes = [source.type.shape[n] for n in kept]
        flat = ir.RankedTensorType.get(sizes, kind.element_type)
        source = ir.Operation.create(
            "stablehlo.reshape", results=[flat], operands=[source], ip=point
        ).results[0]
    result = op.results[0].type
    new = op.clone(ip=point)
    new.operation.operands[side] = codes.results[0]
    order = [axes.in_result(side, places[n]) for n in kept]
    wide = _spread(source, order, new.operation.results[0], point)
    scaled = ir.Operation.create(
        "stablehlo.multiply",
        results=[result],
        operands=[new.operation.results[0], wide],
        ip=point,
    )
    op.results[0].replace_all_uses_with(scaled.results[0])
    op.erase()


def _spread(source: Any, order: list[int], like: Any, point: Any) -> Any:
    """`source` with its axes at `order` in the shape of `like`, whose sizes may be unknown."""
    kind, name, operands = ir.RankedTensorType(like.type), "broadcast_in_dim", [source]
    if any(kind.is_dynamic_dim(a) for a in range(kind.rank)):
        name, operands = "dynamic_broadcast_in_dim", [source, _shape_of(like, point)]
    return ir.Operation.create(
        f"stablehlo.{name}",
        results=[kind],
        operands=operands,
        attributes={"broadcast_dimensions": ir.DenseI64ArrayAttr.get(order)},
        ip=point,
    ).results[0]


def _shape_of(value: Any, point: Any) -> Any:
    """The sizes of `value` as a tensor."""
    number, one = (ir.Type.parse(f"tensor<{n}i32>") for n in ("", "1x"))
    rank = ir.RankedTensorType(value.type).rank
    sizes = []
    for axis in range(rank):
        size = ir.Operation.create(
            "stablehlo.get_dimension_size",
            results=[number],
            operands=[value],
            attributes={"dimension": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), axis)},
            ip=point,
        ).results[0]
        sizes.append(
            ir.Operation.create("stablehlo.reshape", results=[one], operands=[size], ip=point)
        )
    return ir.Operation.create(
        "stablehlo.concatenate",
        results=[ir.Type.parse(f"tensor<{rank}xi32>")],
        operands=[size.results[0] for size in sizes],
        attributes={"dimension": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 0)},
        ip=point,
    ).results[0]
