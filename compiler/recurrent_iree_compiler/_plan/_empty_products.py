"""Products that sum over no elements are zeros; IREE 3.13 crashes on them."""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._fused._attrs import read_attributes
from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import walk


def fill_empty_products(module: Module) -> int:
    """Rewrite the products of `module` in place; returns how many."""
    count = 0
    with module.context, ir.Location.unknown(module.context):
        for op in list(walk(module.operation)):
            if op.name == "stablehlo.dot_general" and _is_empty(op):
                _fill(op)
                count += 1
    return count


def _is_empty(op: Any) -> bool:
    shape, result = op.operands[0].type.shape, op.results[0].type
    known = not any(result.is_dynamic_dim(n) for n in range(result.rank))
    return known and any(shape[n] == 0 for n in read_attributes(op, "dot_general")["lhs_contract"])


def _fill(op: Any) -> None:
    result = op.results[0]
    zero = "0" if str(result.type.element_type).startswith(("i", "ui")) else "0.0"
    zeros = ir.Operation.create(
        "stablehlo.constant",
        results=[result.type],
        attributes={"value": ir.Attribute.parse(f"dense<{zero}> : {result.type}")},
        ip=ir.InsertionPoint(op),
    )
    result.replace_all_uses_with(zeros.results[0])
    op.erase()
