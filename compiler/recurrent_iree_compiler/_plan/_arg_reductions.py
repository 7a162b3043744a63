"""Holding reductions of several values apart from what moves their results.

IREE 3.13 cannot compile a transpose of an `argmax`: where one result of such a reduction is not
used and the other one is moved, it drops the unused one from the operation but not from its body.
"""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import walk


def hold_arg_reductions(module: Module) -> int:
    """Put a barrier behind each of them in `module`, in place; returns how many.

    IREE cannot compile a barrier over a size that is not known, so those stay as they are.
    """
    found = [op for op in walk(module.operation) if _loses_a_result(op)]
    for op in found:
        with module.context, op.location:
            _hold(op)
    return len(found)


def _loses_a_result(op: Any) -> bool:
    if op.name != "stablehlo.reduce" or len(op.results) < 2:
        return False
    unused = [not list(result.uses) for result in op.results]
    return any(unused) and not all(unused) and all(n >= 0 for n in op.results[0].type.shape)


def _hold(op: Any) -> None:
    used = [result for result in op.results if list(result.uses)]
    readers = [[(use.owner, use.operand_number) for use in result.uses] for result in used]
    block = list(op.block.operations)
    after = block[next(i for i, each in enumerate(block) if each.operation == op) + 1]
    barrier = ir.Operation.create(
        "stablehlo.optimization_barrier",
        results=[result.type for result in used],
        operands=used,
        ip=ir.InsertionPoint(after),
    )
    for uses, held in zip(readers, barrier.results, strict=True):
        for reader, number in uses:
            reader.operation.operands[number] = held
