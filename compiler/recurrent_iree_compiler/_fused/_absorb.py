"""Products of the inputs move back into the kernel, where enough rows share each weight.

Capture computes ``x @ W`` for all steps before the loop. That result is as long as the sequence: it
goes through memory twice, and IREE packs and unpacks it besides. With many rows a step reads
``W`` as cheaply as it reads the recurrent weights, so the kernel multiplies ``x`` itself.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ._attrs import made_by, read_attributes
from ._elementwise import ELEMENTWISE
from ._ir import Cell, Op, Value
from ._machine import Machine
from ._many_rows import kernel_multiplies
from ._parse import DTYPES, splat_of


def absorb_products(cell: Cell, composite: Any, machine: Machine) -> None:
    """Put the products that make step inputs of `cell` into it, with the operations behind them.

    The cell then reads what they were made of: `cell.extra` says which values of MLIR these are.
    """
    outer = dict(zip(cell.arguments, composite.operands, strict=True))
    known = {outer[x]: x for x in cell.xs}
    for x in list(cell.xs):
        if len(list(outer[x].uses)) != 1:
            continue
        taken = _Steps(cell, {v: x_ for v, x_ in known.items() if x_ is not x})
        made = taken.value(outer[x])
        if made is None or not taken.pays(machine):
            continue
        known = {v: x_ for v, x_ in known.items() if x_ is not x}
        known.update({v: new for v, new in taken.known.items() if new in taken.xs})
        _put(cell, x, made, taken)


def _put(cell: Cell, x: Value, made: Value, taken: _Steps) -> None:
    """Compute `made` in the place of the step input `x`."""
    used = {v for op in taken.ops for v in op.operands}
    cell.xs = [v for v in cell.xs if v is not x] + [v for v in taken.xs if v in used]
    cell.consts = [*cell.consts, *(v for v in taken.consts if v in used)]
    cell.extra.update({v: outer for v, outer in taken.extra.items() if v in used})

    def new(values: Any) -> tuple[Value, ...]:
        return tuple(made if v is x else v for v in values)

    ops = [replace(op, operands=new(op.operands)) for op in cell.ops]
    cell.ops = [*taken.ops, *ops]
    cell.carry_out, cell.ys = list(new(cell.carry_out)), list(new(cell.ys))


class _Steps:
    """Operations on all steps, as operations on one."""

    def __init__(self, cell: Cell, known: dict[Any, Value]) -> None:
        self.cell = cell
        self.known = dict(known)
        self.ops: list[Op] = []
        self.xs: list[Value] = []
        self.consts: list[Value] = []
        self.extra: dict[Value, Any] = {}
        self.weights: list[tuple[int, int]] = []

    def pays(self, machine: Machine) -> bool:
        """Whether there are products, and reading their weights at every step costs nothing."""
        return bool(self.weights) and all(
            kernel_multiplies(rows, 4 * size, machine.l2) for rows, size in self.weights
        )

    def value(self, outer: Any) -> Value | None:
        """One step of the value `outer` of MLIR; ``None`` if its type has no place in a kernel."""
        if outer not in self.known:
            made = self._made(outer) or self._leaf(outer, outer.type.shape[1:], self.xs)
            if made is None:
                return None
            self.known[outer] = made
        return self.known[outer]

    def _leaf(self, outer: Any, shape: Any, among: list[Value]) -> Value | None:
        dtype = str(outer.type.element_type)
        if dtype not in DTYPES or any(n < 0 for n in shape):
            return None
        value = Value(f"x{len(self.cell.extra) + len(self.extra)}", tuple(shape), dtype)
        among.append(value)
        self.extra[value] = outer
        return value

    def constant(self, outer: Any) -> Value | None:
        """The value `outer` of MLIR, which is the same at all steps."""
        if outer not in self.known:
            op, splat = made_by(outer), None
            made = self._leaf(outer, outer.type.shape, self.consts)
            if op is not None and op.name == "stablehlo.constant":
                splat = splat_of(op.attributes["value"])
            if made is None:
                return None
            if splat is not None:
                self.cell.splats[made] = splat
            self.known[outer] = made
        return self.known[outer]

    def _made(self, outer: Any) -> Value | None:
        op = made_by(outer)
        if op is None or len(op.results) != 1 or not op.name.startswith("stablehlo."):
            return None
        kind = op.name.removeprefix("stablehlo.")
        if kind in ELEMENTWISE:
            return self._elementwise(op, kind)
        rule = _RULES.get(kind)
        return rule(self, op) if rule else None

    def add(self, kind: str, outer: Any, operands: list[Value], attrs: dict[str, Any]) -> Value:
        result = outer.type
        value = Value(
            f"s{len(self.cell.extra)}_{len(self.ops)}",
            tuple(result.shape[1:]),
            str(result.element_type),
        )
        self.ops.append(Op(kind, tuple(operands), (value,), attrs))
        return value

    def _elementwise(self, op: Any, kind: str) -> Value | None:
        shape = op.results[0].type.shape
        if any(v.type.shape != shape for v in op.operands):
            return None
        found = [v for v in map(self.value, op.operands) if v is not None]
        if len(found) < len(op.operands):
            return None
        return self.add(kind, op.results[0], found, read_attributes(op, kind))


def _dot_general(steps: _Steps, op: Any) -> Value | None:
    at = read_attributes(op, "dot_general")
    x, weight = op.operands
    if at["lhs_batch"] or at["rhs_batch"] or 0 in at["lhs_contract"]:
        return None
    left = steps.value(x)
    right = steps.constant(weight) if left is not None else None
    if left is None or right is None:
        return None
    contract = tuple(a - 1 for a in at["lhs_contract"])
    rows = math.prod(n for a, n in enumerate(left.shape) if a not in contract)
    steps.weights.append((rows, right.size))
    attrs = {**at, "lhs_contract": contract}
    return steps.add("dot_general", op.results[0], [left, right], attrs)


def _broadcast(steps: _Steps, op: Any) -> Value | None:
    """Of what is the same at all steps; new axes of size one before it are looked through."""
    source, result = op.operands[0], op.results[0]
    dims = read_attributes(op, "broadcast_in_dim")["dims"]
    inner = made_by(source)
    while inner is not None and inner.name == op.name and _size(inner.operands[0]) == _size(source):
        dims = tuple(dims[a] for a in read_attributes(inner, "broadcast_in_dim")["dims"])
        source = inner.operands[0]
        inner = made_by(source)
    if 0 in dims or any(n < 0 for n in result.type.shape[1:]):
        return None
    constant = steps.constant(source)
    if constant is None or math.prod(result.type.shape[1:]) <= constant.size:
        return None
    dims = tuple(a - 1 for a in dims)
    return steps.add("broadcast_in_dim", result, [constant], {"dims": dims})


def _slice(steps: _Steps, op: Any) -> Value | None:
    at = read_attributes(op, "slice")
    size = op.operands[0].type.shape[0]
    if (at["start"][0], at["limit"][0], at["strides"][0]) != (0, size, 1):
        return None
    operand = steps.value(op.operands[0])
    attrs = {key: value[1:] for key, value in at.items()}
    return steps.add("slice", op.results[0], [operand], attrs) if operand else None


def _concatenate(steps: _Steps, op: Any) -> Value | None:
    dim = read_attributes(op, "concatenate")["dim"]
    operands = [steps.value(v) for v in op.operands] if dim else [None]
    found = [v for v in operands if v is not None]
    if len(found) < len(operands):
        return None
    return steps.add("concatenate", op.results[0], found, {"dim": dim - 1})


def _size(value: Any) -> int:
    return math.prod(value.type.shape)


_RULES = {
    "dot_general": _dot_general,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "concatenate": _concatenate,
}
