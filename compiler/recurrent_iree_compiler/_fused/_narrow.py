"""Weights that are stored in fewer bits than the cell computes with.

A weight that is ``convert(bf16)``, or ``convert(int8) * broadcast(scale)``, and then only moved
(sliced, transposed, laid beside others) can be packed as it is stored: the same moves are made on
the stored numbers and on the scale, and the kernel widens what it loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recurrent_iree_compiler._mlir import ir

from ._attrs import made_by
from ._ir import Cell, Op, Value

STORED = ("bf16", "i8")
_MOVES = frozenset({"slice", "transpose", "reshape", "concatenate", "reverse"})
Side = Literal["codes", "scale"]


@dataclass(frozen=True, eq=False)
class Narrow:
    """A float32 tensor as moves of a stored one.

    Attributes:
        dtype: of the stored numbers: ``bf16`` or ``i8``.
        varies: the axes along which the scale differs; ``None`` if there is no scale.
        codes, scale: what is moved, at the leaves: a value of MLIR, or of the cell.
        move: the operation of MLIR that moves `parts`, or ``None`` at a leaf.
    """

    dtype: str
    shape: tuple[int, ...]
    varies: frozenset[int] | None = None
    codes: Any = None
    scale: Any = None
    move: Any = None
    parts: tuple[Narrow, ...] = ()

    def scale_is_fixed_along(self, axes: Sequence[int]) -> bool:
        """Whether it can be applied after a sum over `axes`."""
        return self.varies is None or not self.varies & set(axes)


def narrow_of(value: Any) -> Narrow | None:
    """How a value of MLIR is made of one that is stored in fewer bits, or ``None``."""
    op = made_by(value)
    if op is None or str(value.type.element_type) != "f32" or len(op.results) != 1:
        return None
    kind = op.name.removeprefix("stablehlo.")
    operands = list(op.operands)
    if kind == "convert":
        return _leaf(operands[0], _element(operands[0]), tuple(value.type.shape))
    if kind == "multiply":
        for codes, scale in (operands, operands[::-1]):
            by = made_by(scale)
            if by is not None and by.name == "stablehlo.broadcast_in_dim":
                dims = list(ir.DenseI64ArrayAttr(by.attributes["broadcast_dimensions"]))
                sizes = list(by.operands[0].type.shape)
                return _scaled(narrow_of(codes), scale, dims, sizes)
    if kind in _MOVES:
        return _moved(op, [narrow_of(v) for v in operands], tuple(value.type.shape))
    return None


def narrow_weights(composite: Any, cell: Cell) -> dict[Value, Narrow]:
    """What the cell reads from outside and is stored in fewer bits."""
    found: dict[Value, Narrow] = {}
    for value, operand in cell.given(composite).items():
        narrow = narrow_of(operand)
        if narrow is not None:
            found[value] = narrow
    for op in cell.outside:
        if len(op.results) == 1 and op.result.dtype == "f32":
            narrow = _of_outside(op, found, cell)
            if narrow is not None:
                found[op.result] = narrow
    return found


def build(narrow: Narrow, side: Side, values: dict[Value, Any], before: Any) -> Any:
    """The stored numbers, or the scale at each of them, as a value of MLIR made at `before`."""
    if narrow.move is None:
        leaf = narrow.codes if side == "codes" else narrow.scale
        return values[leaf] if isinstance(leaf, Value) else leaf
    operands = [build(part, side, values, before) for part in narrow.parts]
    kind = operands[0].type.element_type
    return ir.Operation.create(
        narrow.move.name,
        results=[ir.RankedTensorType.get(list(narrow.shape), kind)],
        operands=operands,
        attributes={a.name: a.attr for a in _attributes(narrow.move)},
        ip=ir.InsertionPoint(before),
    ).results[0]


def _attributes(op: Any) -> list[Any]:
    attributes = op.attributes
    return [attributes[n] for n in range(len(attributes))]


def _of_outside(op: Op, found: dict[Value, Narrow], cell: Cell) -> Narrow | None:
    if op.kind == "convert":
        return _leaf(op.operands[0], op.operands[0].dtype, op.result.shape)
    if op.kind == "multiply":
        makers = {v: o for o in cell.outside for v in o.results}
        for codes, scale in (op.operands, op.operands[::-1]):
            by = makers.get(scale)
            if by is not None and by.kind == "broadcast_in_dim":
                sizes = list(by.operands[0].shape)
                return _scaled(found.get(codes), scale, list(by.attrs["dims"]), sizes)
    if op.kind in _MOVES:
        return _moved(op.source, [found.get(v) for v in op.operands], op.result.shape)
    return None


def _leaf(codes: Any, dtype: str, shape: tuple[int, ...]) -> Narrow | None:
    return Narrow(dtype, shape, codes=codes) if dtype in STORED else None


def _scaled(codes: Narrow | None, scale: Any, dims: list[int], sizes: list[int]) -> Narrow | None:
    if codes is None or codes.dtype != "i8" or codes.move is not None or codes.varies is not None:
        return None
    varies = frozenset(d for d, n in zip(dims, sizes, strict=True) if n > 1)
    return Narrow("i8", codes.shape, varies, codes.codes, scale)


def _moved(op: Any, parts: list[Narrow | None], shape: tuple[int, ...]) -> Narrow | None:
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    first = known[0]
    if any(p.dtype != first.dtype or (p.varies is None) != (first.varies is None) for p in known):
        return None
    varies = None
    if first.varies is not None:
        varies = _varies(op, [p.varies or frozenset() for p in known], first.shape, shape)
    return Narrow(first.dtype, shape, varies, move=op, parts=tuple(known))


def _varies(
    op: Any, parts: list[frozenset[int]], before: tuple[int, ...], shape: tuple[int, ...]
) -> frozenset[int]:
    kind = op.name.removeprefix("stablehlo.")
    together = frozenset().union(*parts)
    if kind == "transpose":
        order = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
        return frozenset(new for new, old in enumerate(order) if old in together)
    if kind == "concatenate":
        return together | {ir.IntegerAttr(op.attributes["dimension"]).value}
    if kind == "reshape":
        return _reshaped(together, before, shape)
    return together


def _reshaped(
    varies: frozenset[int], before: tuple[int, ...], after: tuple[int, ...]
) -> frozenset[int]:
    """Each axis of `after` that holds some of an axis of `varies`."""
    old = [(a, n) for a, n in enumerate(before) if n != 1]
    new = [(a, n) for a, n in enumerate(after) if n != 1]
    found: set[int] = set()
    while old and new:
        (a, size), (b, other) = old.pop(0), new.pop(0)
        group, made = [a], [b]
        while size != other and (old or new):
            if size < other:
                a, n = old.pop(0)
                group.append(a)
                size *= n
            else:
                b, n = new.pop(0)
                made.append(b)
                other *= n
        if varies & set(group):
            found.update(made)
    return frozenset(found)


def _element(value: Any) -> str:
    return str(value.type.element_type)
