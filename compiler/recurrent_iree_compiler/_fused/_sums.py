"""Products with a vector become sums, so that what they multiply need not be stored.

``tanh(keys + q) @ v`` is a reduction of ``tanh(keys + q) * v``: element-wise work fuses into a
reduction, but not into a product, whose operands are read many times.
"""

from __future__ import annotations

from dataclasses import replace

from ._elementwise import ELEMENTWISE
from ._ir import Cell, Op, Region, Value


def vector_products_to_sums(cell: Cell) -> None:
    """Rewrite the operations of `cell` in place."""
    makers = cell.producers()
    ops: list[Op] = []
    for op in cell.ops:
        matrix = _matrix_side(op, makers)
        if matrix is None:
            ops.append(op)
        else:
            ops.extend(_as_sum(cell, op, matrix))
    cell.ops = ops


def _matrix_side(op: Op, makers: dict[Value, Op]) -> int | None:
    """The operand that is computed element by element, if the other one is a vector beside it."""
    if op.kind != "dot_general" or any(v.dtype != op.result.dtype for v in op.operands):
        return None
    names = ("lhs", "rhs")
    for side in (0, 1):
        matrix, vector = op.operands[side], op.operands[1 - side]
        maker = makers.get(matrix)
        batch, contract = op.attrs[f"{names[side]}_batch"], op.attrs[f"{names[side]}_contract"]
        other = names[1 - side]
        fixed = (*op.attrs[f"{other}_batch"], *op.attrs[f"{other}_contract"])
        if maker is None or maker.kind not in ELEMENTWISE or len(fixed) != len(vector.shape):
            continue
        leads = tuple(batch) == tuple(range(len(batch)))
        if leads and len(matrix.shape) - 1 in contract and matrix.size > 4 * vector.size:
            return side
    return None


def _as_sum(cell: Cell, op: Op, side: int) -> list[Op]:
    mine, other = ("lhs", "rhs") if side == 0 else ("rhs", "lhs")
    matrix, vector = op.operands[side], op.operands[1 - side]
    place = dict(zip(op.attrs[f"{other}_batch"], op.attrs[f"{mine}_batch"], strict=True))
    place.update(zip(op.attrs[f"{other}_contract"], op.attrs[f"{mine}_contract"], strict=True))
    dtype = op.result.dtype
    name = op.result.name
    spread = Value(f"{name}b", matrix.shape, dtype)
    product = Value(f"{name}p", matrix.shape, dtype)
    zero = Value(f"{name}z", (), dtype)
    cell.splats[zero] = 0
    dims = tuple(place[a] for a in range(len(vector.shape)))
    a, b, total = (Value(f"{name}{n}", (), dtype) for n in "xyt")
    add = Region((a, b), (Op("add", (a, b), (total,)),), (total,))
    reduced = tuple(sorted(op.attrs[f"{mine}_contract"]))
    return [
        Op("broadcast_in_dim", (vector,), (spread,), {"dims": dims}),
        Op("multiply", (matrix, spread), (product,)),
        replace(op, kind="reduce", operands=(product, zero), attrs={"dims": reduced}, region=add),
    ]
