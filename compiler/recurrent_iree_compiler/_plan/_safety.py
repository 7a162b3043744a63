"""Refusing what IREE is known to compile into something that runs wrongly."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from recurrent_iree_compiler._mlir import Module
from recurrent_iree_runtime import UnsupportedError

from ._recurrence import functions, walk


def check_loops(module: Module, unused: Collection[str] = ()) -> None:
    """Refuse loops that stock IREE 3.13 miscompiles.

    Functions that are `unused` in what is compiled may hold any.

    Raises:
        UnsupportedError: a loop with a data-dependent condition, or with a dynamic size in what it
            carries.
    """
    used = (f for name, f in functions(module).items() if name not in unused)
    for op in (op for function in used for op in walk(function)):
        if op.name != "stablehlo.while":
            continue
        dynamic = [str(v.type) for v in op.operands if "?" in str(v.type)]
        if dynamic:
            raise UnsupportedError(
                f"a loop carries {dynamic[0]}, a tensor of a dynamic size; IREE 3.13 silently "
                "computes wrong numbers for it. Name the sizes in the spec, "
                'for example "batch=1|8" instead of "batch=?"'
            )
        if not _is_counted(op):
            raise UnsupportedError(
                "a while loop ends on a condition that depends on data; IREE 3.13 crashes or "
                "fails on such loops. Use recurrent_iree.raw_rnn(..., max_steps=N), or a "
                "lax.scan of a fixed length whose finished rows are masked; "
                'or compile for the target "xla" only'
            )


def _is_counted(op: Any) -> bool:
    """Whether the condition only compares a counter that each step moves by a constant."""
    condition = op.regions[0].blocks[0]
    operations = [o.operation for o in condition.operations]
    compares = [o for o in operations if o.name == "stablehlo.compare"]
    allowed = {"stablehlo.compare", "stablehlo.constant", "stablehlo.return"}
    if len(compares) != 1 or any(o.name not in allowed for o in operations):
        return False
    arguments = list(condition.arguments)
    sides = [_argument_index(v, arguments) for v in compares[0].operands]
    body = op.regions[1].blocks[0]
    last = list(body.operations)[-1].operation
    moving = [s for s in sides if s is not None and not _is_returned_as_is(body, last, s)]
    return all(_is_scalar_integer(v) for v in compares[0].operands) and all(
        _moves_by_constant(body, last, s) for s in moving
    )


def _argument_index(value: Any, arguments: list[Any]) -> int | None:
    for index, argument in enumerate(arguments):
        if argument == value:
            return index
    return None


def _is_scalar_integer(value: Any) -> bool:
    return str(value.type) in {"tensor<i32>", "tensor<i64>", "tensor<ui32>", "tensor<i16>"}


def _is_returned_as_is(body: Any, last: Any, index: int) -> bool:
    return last.operands[index] == body.arguments[index]


def _moves_by_constant(body: Any, last: Any, index: int) -> bool:
    owner = last.operands[index].owner
    name = getattr(owner, "name", None)
    if name not in {"stablehlo.add", "stablehlo.subtract"}:
        return False
    return body.arguments[index] in list(owner.operands)
