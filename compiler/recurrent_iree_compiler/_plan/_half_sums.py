"""Products of half precision outside of kernels, summed in float32.

IREE 3.13 sums a product in the type of its result: a float16 sum of 4,096 terms stops growing
where XLA's goes on.
"""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import walk

_HALVES = ("f16", "bf16")


def widen_sums(module: Module) -> int:
    """Rewrite the products of `module` in place; returns how many."""
    count = 0
    with module.context, ir.Location.unknown(module.context):
        for op in list(walk(module.operation)):
            if op.name == "stablehlo.dot_general" and _element(op.results[0]) in _HALVES:
                _widen(op)
                count += 1
    return count


def _widen(op: Any) -> None:
    point = ir.InsertionPoint(op)
    result = op.results[0]
    wide = ir.RankedTensorType.get(list(result.type.shape), ir.F32Type.get())
    product = ir.Operation.create(
        op.name,
        results=[wide],
        operands=list(op.operands),
        attributes={
            a: op.attributes[a]
            for a in ("dot_dimension_numbers", "precision_config")
            if a in op.attributes
        },
        ip=point,
    )
    narrow = ir.Operation.create(
        "stablehlo.convert", results=[result.type], operands=[product.results[0]], ip=point
    )
    result.replace_all_uses_with(narrow.results[0])
    op.erase()


def _element(value: Any) -> str:
    return str(value.type.element_type)
