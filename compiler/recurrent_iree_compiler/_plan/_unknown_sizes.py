"""Operations on arrays with an unknown size, in forms that IREE compiles.

IREE 3.13 turns products of more than two axes, and gathers, into reshapes, and does not compile
reshapes to a shape with an unknown size. So all are written with IREE's own reshape, whose sizes
are given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._lookups import lookup
from ._recurrence import functions, walk
from ._sizes import Sizes, each_element, function, known

_CONTRACTS = re.compile(
    r"lhs_contracting_dimensions = \[(\d+)\].*rhs_contracting_dimensions = \[(\d+)\]"
)


def rewrite_unknown_sizes(module: Module) -> None:
    """Replace products, reshapes and moves of axes of arrays with an unknown size, in place."""
    number = 0
    with module.context, ir.Location.unknown(module.context):
        for body in list(functions(module).values()):
            for op in list(walk(body)):
                text = _RULES[op.name](op, f"sizes{number}") if op.name in _RULES else ""
                if text:
                    _replace(module, op, f"sizes{number}", text)
                    number += 1
                elif op.name == "stablehlo.dynamic_broadcast_in_dim":
                    _say_what_repeats(op)


def _replace(module: Module, op: Any, symbol: str, text: str) -> None:
    """Put a call of the function `text` in the place of `op`."""
    made = ir.Module.parse(f"module {{\n{text}\n}}", module.context)
    module.body.append(next(iter(made.body.operations)).operation.detach_from_parent())
    taken = 1 if op.name in _WITH_SHAPE else len(op.operands)
    call = ir.Operation.create(
        "func.call",
        results=[op.results[0].type],
        operands=list(op.operands)[:taken],
        attributes={"callee": ir.FlatSymbolRefAttr.get(symbol)},
        ip=ir.InsertionPoint(op),
    )
    op.results[0].replace_all_uses_with(call.results[0])
    op.erase()


def _reshape(op: Any, symbol: str) -> str:
    """A reshape whose one unknown size follows from the number of elements."""
    source, target = op.operands[0].type, op.results[0].type
    if str(target).count("?") != 1:
        return ""
    shape = Sizes(source)
    shape.lines.append(f"%fixed = arith.constant {known(target)} : index")
    shape.lines.append(f"%size = arith.divui {shape.total}, %fixed : index")
    shape.lines.append(f"%y = {shape.reshape('%x', source, shape.given, target, ['%size'])}")
    return function(symbol, f"%x: {source}", str(target), shape.lines)


def _product(op: Any, symbol: str) -> str:
    """A product of rows with a matrix, or of a matrix with rows, all rows in one axis."""
    left = "?" not in str(op.operands[0].type)
    matrix, rows = (v.type for v in (op.operands if left else list(op.operands)[::-1]))
    numbers = str(op.attributes["dot_dimension_numbers"])
    axes = _CONTRACTS.search(numbers)
    if "?" not in str(rows) or "?" in str(matrix) or "batching" in numbers or axes is None:
        return ""
    of_matrix, of_rows = (int(axes[1 if left else 2]), int(axes[2 if left else 1]))
    kinds = [ir.RankedTensorType(t) for t in (rows, matrix)]
    last = kinds[0].rank - 1
    if kinds[0].rank < 3 or kinds[1].rank != 2 or of_rows != last or kinds[0].is_dynamic_dim(last):
        return ""
    result, shape = op.results[0].type, Sizes(rows)
    depth, width = kinds[0].shape[last], kinds[1].shape[1 - of_matrix]
    flat = f"tensor<?x{depth}x{kinds[0].element_type}>"
    element = ir.RankedTensorType(result).element_type
    wide = f"tensor<{width}x?x{element}>" if left else f"tensor<?x{width}x{element}>"
    names, types, contracted = ["%flat", "%w"], [flat, str(matrix)], [1, of_matrix]
    if left:
        names, types, contracted = names[::-1], types[::-1], contracted[::-1]
    shape.lines += [
        f"%depth = arith.constant {depth} : index",
        f"%rows = arith.divui {shape.total}, %depth : index",
        f"%flat = {shape.reshape('%x', rows, shape.given, flat, ['%rows'])}",
        f"%p = stablehlo.dot_general {', '.join(names)}, contracting_dims = [{contracted[0]}] x "
        f"[{contracted[1]}] : ({', '.join(types)}) -> {wide}",
        f"%y = {shape.reshape('%p', wide, ['%rows'], result, shape.given)}",
    ]
    given = [f"%x: {rows}", f"%w: {matrix}"]
    return function(symbol, ", ".join(given[::-1] if left else given), str(result), shape.lines)


def _transpose(op: Any, symbol: str) -> str:
    """A transpose that only moves axes of size one: no element moves."""
    source, target = op.operands[0].type, op.results[0].type
    kind = ir.RankedTensorType(source)
    order = [int(n) for n in op.attributes["permutation"]]
    moved = [a for a in order if kind.is_dynamic_dim(a) or kind.shape[a] != 1]
    if "?" not in str(source) or moved != sorted(moved):
        return ""
    shape = Sizes(source)
    shape.lines.append(f"%y = {shape.reshape('%x', source, shape.given, target, shape.given)}")
    return function(symbol, f"%x: {source}", str(target), shape.lines)


def _broadcast(op: Any, symbol: str) -> str:
    """A broadcast of an array with unknown sizes, which are those of the result.

    IREE 3.13 fuses two of them into one, and then no longer knows which axes are repeated.
    """
    source, target = (ir.RankedTensorType(v.type) for v in (op.operands[0], op.results[0]))
    axes = list(ir.DenseI64ArrayAttr(op.attributes["broadcast_dimensions"]))
    unknown = {b: a for a, b in enumerate(axes) if source.is_dynamic_dim(a)}
    wanted = [b for b in range(target.rank) if target.is_dynamic_dim(b)]
    if not unknown or wanted != sorted(unknown) or "ui" in str(source.element_type):
        return ""
    shape = Sizes(source)
    kept = [a for a in range(source.rank) if source.is_dynamic_dim(a) or source.shape[a] != 1]
    sizes = ("?x" if source.is_dynamic_dim(a) else f"{source.shape[a]}x" for a in kept)
    flat = ir.Type.parse(f"tensor<{''.join(sizes)}{source.element_type}>")
    given = [f"%size{unknown[b]}" for b in wanted]
    shape.lines.append(f"%flat = {shape.reshape('%x', source, shape.given, flat, shape.given)}")
    shape.lines += each_element(flat, [axes[a] for a in kept], target, given, [], "%a")
    return function(symbol, f"%x: {source}", str(target), shape.lines)


def _say_what_repeats(op: Any) -> None:
    """Axes of unknown sizes are never repeated; IREE must know that of each axis."""
    source = ir.RankedTensorType(op.operands[0].type)
    repeated = [
        n for n in range(source.rank) if not source.is_dynamic_dim(n) and source.shape[n] == 1
    ]
    kept = [n for n in range(source.rank) if n not in repeated]
    op.attributes["known_expanding_dimensions"] = ir.DenseI64ArrayAttr.get(repeated)
    op.attributes["known_nonexpanding_dimensions"] = ir.DenseI64ArrayAttr.get(kept)


_WITH_SHAPE = frozenset({"stablehlo.dynamic_reshape", "stablehlo.dynamic_broadcast_in_dim"})
_RULES: dict[str, Callable[[Any, str], str]] = {
    "stablehlo.dynamic_broadcast_in_dim": _broadcast,
    "stablehlo.dynamic_reshape": _reshape,
    "stablehlo.dot_general": _product,
    "stablehlo.gather": lookup,
    "stablehlo.transpose": _transpose,
}
