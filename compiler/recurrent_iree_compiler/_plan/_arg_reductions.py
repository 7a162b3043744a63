"""Holding reductions of several values apart from what moves their results.

IREE 3.13 cannot compile a transpose of an `argmax`: where one result of such a reduction is not
used and the other one is moved, it drops the unused one from the operation but not from its body.
"""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import walk


def hold_arg_reductions(module: Module) -> int:
    """Keep each of them whole in `module`, in place; returns how many.

    A barrier behind it does that. IREE cannot compile one over a size that is not known, so there
    the result that is used is made to depend on one that is not, without a change of its value.
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
    return any(unused) and not all(unused)


def _hold(op: Any) -> None:
    used = [result for result in op.results if list(result.uses)]
    unused = next(result for result in op.results if not list(result.uses))
    readers = [[(use.owner, use.operand_number) for use in result.uses] for result in used]
    block = list(op.block.operations)
    after = block[next(i for i, each in enumerate(block) if each.operation == op) + 1]
    with ir.InsertionPoint(after):
        if all(n >= 0 for n in op.results[0].type.shape):
            types = [result.type for result in used]
            held = list(_made("stablehlo.optimization_barrier", types, used).results)
        else:
            held = [_with(result, unused) for result in used]
    for uses, value in zip(readers, held, strict=True):
        for reader, number in uses:
            reader.operation.operands[number] = value


def _with(used: Any, unused: Any) -> Any:
    """``min(used, max(used, unused))``, which is `used`; bits stand for a float, as no NaN may."""
    kind, shape = unused.type.element_type, unused.type.shape
    if isinstance(kind, ir.FloatType):
        bits = ir.RankedTensorType.get(shape, ir.IntegerType.get_signless(kind.width))
        unused = _made("stablehlo.bitcast_convert", [bits], [unused]).result
    if unused.type != used.type:
        unused = _made("stablehlo.convert", [used.type], [unused]).result
    largest = _made("stablehlo.maximum", [used.type], [used, unused]).result
    return _made("stablehlo.minimum", [used.type], [used, largest]).result


def _made(name: str, types: list[Any], operands: list[Any]) -> Any:
    return ir.Operation.create(name, results=types, operands=operands)
