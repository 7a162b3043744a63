"""Products that sum over many terms, such as gradients of weights: cut, so that parts fit a cache.

IREE's packed product reads a strip of one factor, as wide as a vector and as long as the sum, for
every tile of the other one. A strip that is longer than the first-level cache comes from the second
each time. Parts of the sum are a batch of products, which are added in the end.
"""

from __future__ import annotations

import math
from typing import Any

from recurrent_iree_compiler._fused import Machine
from recurrent_iree_compiler._fused._attrs import read_attributes
from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import functions, walk

_FEWEST = 32  # rows and columns; a product with fewer is not computed in tiles that fill vectors
_PARTS = range(2, 33)


def cut_long_sums(module: Module, machine: Machine) -> int:
    """Rewrite the products of `module` in place; returns how many."""
    count = 0
    with module.context, ir.Location.unknown(module.context):
        for op in list(walk(module.operation)):
            parts = _parts(op, machine) if op.name == "stablehlo.dot_general" else 1
            if parts > 1:
                _cut(module, op, parts, f"long_sum{count}")
                count += 1
    return count


def _parts(op: Any, machine: Machine) -> int:
    """Into how many equal parts the sum of `op` is cut; 1 if it stays."""
    at = read_attributes(op, "dot_general")
    axes = at["lhs_contract"], at["rhs_contract"]
    values = [*op.operands, op.results[0]]
    if at["lhs_batch"] or any(len(a) != 1 for a in axes):
        return 1
    if any(str(v.type.element_type) != "f32" or min(v.type.shape, default=0) <= 0 for v in values):
        return 1
    depth = values[0].type.shape[axes[0][0]]
    left, right, made = (math.prod(v.type.shape) for v in values)
    strip = depth * machine.vector_bits // 8
    if min(left, right) < _FEWEST * depth or strip <= machine.l1:
        return 1
    for parts in _PARTS:
        if made * parts > left + right:  # no more memory than the factors themselves
            return 1
        if depth % parts == 0 and strip <= machine.l1 * parts:
            return parts
    return 1


def _cut(module: Module, op: Any, parts: int, name: str) -> None:
    """Put a function that sums in parts in the place of `op`."""
    at = read_attributes(op, "dot_general")
    (left,), (right,) = at["lhs_contract"], at["rhs_contract"]
    a, b, made = (list(v.type.shape) for v in (*op.operands, op.results[0]))
    cut_a, cut_b = _cut_axis(a, left, parts), _cut_axis(b, right, parts)
    text = f"""
func.func private @{name}(%a: {_type(a)}, %b: {_type(b)}) -> {_type(made)} {{
  %x = stablehlo.reshape %a : ({_type(a)}) -> {_type(cut_a)}
  %y = stablehlo.reshape %b : ({_type(b)}) -> {_type(cut_b)}
  %p = stablehlo.dot_general %x, %y, batching_dims = [{left}] x [{right}],
    contracting_dims = [{left + 1}] x [{right + 1}]
    : ({_type(cut_a)}, {_type(cut_b)}) -> {_type([parts, *made])}
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %sum = stablehlo.reduce(%p init: %zero) applies stablehlo.add across dimensions = [0]
    : ({_type([parts, *made])}, tensor<f32>) -> {_type(made)}
  return %sum : {_type(made)}
}}"""
    scratch = ir.Module.parse(f"module {{\n{text}\n}}", module.context)
    function = functions(scratch)[name]
    function.detach_from_parent()
    module.body.append(function)
    call = ir.Operation.create(
        "func.call",
        results=[op.results[0].type],
        operands=list(op.operands),
        attributes={"callee": ir.FlatSymbolRefAttr.get(name)},
        ip=ir.InsertionPoint(op),
    )
    op.results[0].replace_all_uses_with(call.results[0])
    op.erase()


def _cut_axis(shape: list[int], axis: int, parts: int) -> list[int]:
    return [*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :]]


def _type(shape: list[int]) -> str:
    return f"tensor<{''.join(f'{n}x' for n in shape)}f32>"
