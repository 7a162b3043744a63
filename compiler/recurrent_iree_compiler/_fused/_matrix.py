"""Products outside of the loops as kernels: ``x @ W + b`` for all rows of ``x`` at once.

To the planner such a product is one step of a cell without state, whose rows are a batch.
"""

from __future__ import annotations

import math
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._attrs import made_by, read_attributes
from ._fuse import FusedKernel, Refusal, fuse_cell, splice
from ._ir import Cell, Op, Refused, Value
from ._machine import Machine


class Product:
    """A ``stablehlo.dot_general`` of rows with a matrix, and the vector that is added to it.

    Attributes:
        rows, depth, width: of ``[rows, depth] @ [depth, width]``.
        weight, bias: the values of MLIR of the matrix and the vector; there may be no vector.
    """

    def __init__(self, op: Any) -> None:
        self.op = self.last = op
        self.x, self.weight = op.operands
        self.bias: Any = None
        shape = list(self.weight.type.shape)
        (self.contract,) = read_attributes(op, "dot_general")["rhs_contract"]
        self.depth, self.width = shape[self.contract], shape[1 - self.contract]
        self.rows = math.prod(op.results[0].type.shape) // self.width
        self._take_bias()

    def _take_bias(self) -> None:
        uses = list(self.op.results[0].uses)
        add = uses[0].owner.operation if len(uses) == 1 else None
        if add is None or add.name != "stablehlo.add":
            return
        for value in add.operands:
            vector = _repeated(value, self.width)
            if vector is not None:
                self.last, self.bias = add, vector

    @property
    def bytes(self) -> int:
        """Of the matrix."""
        return 4 * self.depth * self.width


def product_of(op: Any) -> Product | None:
    """`op` as a product of rows with a matrix in float32, or ``None``."""
    if op.name != "stablehlo.dot_general":
        return None
    x, weight = (v.type for v in op.operands)
    at = read_attributes(op, "dot_general")
    known = not any(n <= 0 for n in (*x.shape, *weight.shape))
    plain = len(weight.shape) == 2 and not at["lhs_batch"]
    along = at["lhs_contract"] == (len(x.shape) - 1,)
    same = all(str(v.type.element_type) == "f32" for v in (*op.operands, *op.results))
    return Product(op) if known and plain and along and same else None


def _repeated(value: Any, width: int) -> Any:
    """The vector that `value` repeats along all axes but the last one, or ``None``."""
    axis = len(value.type.shape) - 1
    op = made_by(value)
    while op is not None and op.name == "stablehlo.broadcast_in_dim":
        dims, source = read_attributes(op, "broadcast_in_dim")["dims"], op.operands[0]
        if axis not in dims or source.type.shape[dims.index(axis)] != width:
            return None
        axis = dims.index(axis)
        if math.prod(source.type.shape) == width:
            return source
        op = made_by(source)
    return None


def fuse_product(
    module: Module, product: Product, machine: Machine, name: str, spliced: dict[str, str]
) -> FusedKernel | Refusal:
    """Put a kernel in the place of `product`, in place; or say what stands in the way."""
    with module.context, ir.Location.unknown(module.context):
        cell = _cell(product)
        result = product.last.results[0]
        at = ir.InsertionPoint(product.last)
        given = [product.weight, product.x]
        shapes = [tuple(product.weight.type.shape), (1, product.rows, product.depth)]
        if product.bias is not None:
            given.insert(1, product.bias)
            shapes.insert(1, (product.width,))
        operands = [_reshaped(v, shape, at) for v, shape in zip(given, shapes, strict=True)]
        kind = ir.RankedTensorType.get([1, product.rows, product.width], ir.F32Type.get())
        stand_in = ir.Operation.create(
            "func.call",
            results=[kind],
            operands=operands,
            attributes={"callee": ir.FlatSymbolRefAttr.get(name)},
            ip=at,
        )
        try:
            kernel = fuse_cell(cell, stand_in, machine, name)
        except Refused as refused:
            stand_in.erase()
            return Refusal(refused.op, refused.reason)
        shape = tuple(result.type.shape)
        result.replace_all_uses_with(_reshaped(stand_in.results[0], shape, at))
        for op in dict.fromkeys((product.last, product.op)):
            op.erase()
        splice(module, stand_in, kernel, spliced)
        return kernel


def _cell(product: Product) -> Cell:
    weight = Value("w", tuple(product.weight.type.shape), "f32")
    x = Value("x", (product.rows, product.depth), "f32")
    y = Value("y", (product.rows, product.width), "f32")
    attrs = {"lhs_batch": (), "rhs_batch": (), "lhs_contract": (1,)}
    ops = [Op("dot_general", (x, weight), (y,), {**attrs, "rhs_contract": (product.contract,)})]
    consts = [weight]
    if product.bias is not None:
        bias = Value("b", (product.width,), "f32")
        rows, total = Value("r", y.shape, "f32"), Value("z", y.shape, "f32")
        consts.append(bias)
        ops.append(Op("broadcast_in_dim", (bias,), (rows,), {"dims": (1,)}))
        ops.append(Op("add", (y, rows), (total,)))
        y = total
    return Cell(
        consts=consts,
        carry=[],
        xs=[x],
        ops=ops,
        carry_out=[],
        ys=[y],
        length=1,
        reverse=False,
        arguments=[*consts, x],
    )


def _reshaped(value: Any, shape: tuple[int, ...], at: Any) -> Any:
    if tuple(value.type.shape) == shape:
        return value
    kind = ir.RankedTensorType.get(list(shape), value.type.element_type)
    return ir.Operation.create(
        "stablehlo.reshape", results=[kind], operands=[value], ip=at
    ).results[0]
