"""From the StableHLO of a cell to `Cell`, with calls and composites inlined."""

from __future__ import annotations

import math
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._attrs import read_attributes
from ._ir import Cell, Op, Refused, Region, Value

RECURRENCE = "recurrent_iree.recurrence"
CELL = "recurrent_iree.cell"
DTYPES = frozenset("f32 f64 bf16 f16 i1 i8 i16 i32 i64 ui8 ui16 ui32 ui64".split())
_ALIASES = frozenset({"optimization_barrier"})


def parse_recurrence(module: Module, composite: Any) -> Cell:
    """The cell of a ``recurrent_iree.recurrence`` composite of `module`.

    Raises:
        Refused: it is no such composite, or something in it has no place in a kernel.
    """
    attributes = ir.DictAttr(composite.attributes["composite_attributes"])
    counts = [ir.IntegerAttr(attributes[f"num_{k}"]).value for k in ("consts", "carry", "xs")]
    functions = functions_of(module)
    cell = functions[_cell_of(composite, attributes, functions)]
    reader = _Reader(functions)
    block = cell.regions[0].blocks[0]
    arguments = [reader.new(a) for a in block.arguments]
    outputs = reader.block(block, arguments)
    n, m = counts[0], counts[0] + counts[1]
    if len(arguments) != sum(counts):
        raise Refused(CELL, "the counts of the composite do not fit its cell")
    return Cell(
        consts=arguments[:n],
        carry=arguments[n:m],
        xs=arguments[m:],
        ops=reader.ops,
        carry_out=outputs[: counts[1]],
        ys=outputs[counts[1] :],
        length=ir.IntegerAttr(attributes["length"]).value,
        reverse=ir.BoolAttr(attributes["reverse"]).value,
        splats=reader.splats,
        arguments=arguments,
        rows=ir.IntegerAttr(attributes["rows"]).value if "rows" in attributes else 0,
    )


def _cell_of(composite: Any, attributes: Any, functions: dict[str, Any]) -> str:
    """The function of one step; with rows of any number that for a number which stands for it."""
    if "template" in attributes:
        return ir.StringAttr(attributes["template"]).value
    if "rows" in attributes:
        raise Refused(CELL, "it computes with the number of rows, which is not known")
    return _cell_symbol(functions[_symbol(composite, "decomposition")], functions)


def functions_of(module: Module) -> dict[str, Any]:
    """The functions of `module` by symbol."""
    return {
        ir.StringAttr(op.operation.attributes["sym_name"]).value: op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }


def _symbol(op: Any, name: str) -> str:
    return ir.FlatSymbolRefAttr(op.attributes[name]).value


def _cell_symbol(function: Any, functions: dict[str, Any]) -> str:
    found = _find_cell(function, functions)
    if not found:
        raise Refused(RECURRENCE, "its decomposition holds no recurrent_iree.cell composite")
    return found


def _find_cell(op: Any, functions: dict[str, Any]) -> str:
    for region in op.regions:
        for child in (o.operation for block in region.blocks for o in block.operations):
            if child.name == "stablehlo.composite":
                if ir.StringAttr(child.attributes["name"]).value == CELL:
                    return _symbol(child, "decomposition")
            callee = functions[_symbol(child, "callee")] if child.name == "func.call" else child
            found = _find_cell(callee, functions)
            if found:
                return found
    return ""


class _Reader:
    """Reads blocks, one operation after the other; equal operations become one."""

    def __init__(self, functions: dict[str, Any]) -> None:
        self.functions = functions
        self.ops: list[Op] = []
        self.splats: dict[Value, float | int | bool] = {}
        self.counter = 0
        self.known: dict[Any, tuple[Value, ...]] = {}

    def new(self, value: Any) -> Value:
        kind = value.type
        if not isinstance(kind, ir.RankedTensorType):
            raise Refused(str(kind), "not a ranked tensor")
        if any(kind.is_dynamic_dim(i) for i in range(kind.rank)):
            raise Refused(str(kind), "a dynamic size inside the cell")
        dtype = str(kind.element_type)
        if dtype not in DTYPES:
            raise Refused(str(kind), f"element type {dtype}")
        self.counter += 1
        return Value(f"v{self.counter}", tuple(kind.shape), dtype)

    def block(self, block: Any, arguments: list[Value]) -> list[Value]:
        env = dict(zip(block.arguments, arguments, strict=True))
        for child in block.operations:
            op = child.operation
            if any(v not in env for v in op.operands):
                raise Refused(op.name, "it reads a value from outside its region")
            operands = tuple(env[v] for v in op.operands)
            if op.name in ("func.return", "stablehlo.return"):
                return list(operands)
            env.update(zip(op.results, self.operation(op, operands), strict=True))
        raise Refused("func.func", "a block without a return")

    def operation(self, op: Any, operands: tuple[Value, ...]) -> list[Value]:
        if op.name == "func.call":
            return self.inline(_symbol(op, "callee"), operands)
        if op.name == "stablehlo.composite":
            return self.inline(_symbol(op, "decomposition"), operands)
        dialect, _, kind = op.name.partition(".")
        if dialect not in ("stablehlo", "chlo"):
            raise Refused(op.name, "not an operation of StableHLO")
        if kind in _ALIASES:
            return list(operands)
        if kind == "constant":
            return [self.constant(op)]
        return list(self.plain(op, kind, operands))

    def inline(self, symbol: str, operands: tuple[Value, ...]) -> list[Value]:
        if symbol.startswith(RECURRENCE):
            raise Refused("stablehlo.composite", "a recurrence inside the cell")
        return self.block(self.functions[symbol].regions[0].blocks[0], list(operands))

    def plain(self, op: Any, kind: str, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        regions = list(op.regions)
        if regions and kind != "reduce":
            raise Refused(op.name, "control flow or a region inside the cell")
        if kind == "reduce" and any(0 in v.shape for v in operands):
            raise Refused(op.name, "it sums over no elements")
        attrs = read_attributes(op, kind)
        types = tuple(str(r.type) for r in op.results)
        region_text = "".join(str(b) for r in regions for b in r.blocks)
        key = (kind, operands, types, str(attrs), region_text)
        if key not in self.known:
            results = tuple(self.new(r) for r in op.results)
            region = self.region(regions[0]) if regions else None
            self.ops.append(Op(kind, operands, results, attrs, op, region))
            self.known[key] = results
        return self.known[key]

    def region(self, region: Any) -> Region:
        inner = _Reader(self.functions)
        inner.splats = self.splats
        block = region.blocks[0]
        arguments = [inner.new(a) for a in block.arguments]
        outputs = inner.block(block, arguments)
        return Region(tuple(arguments), tuple(inner.ops), tuple(outputs))

    def constant(self, op: Any) -> Value:
        attribute = op.attributes["value"]
        key = ("constant", str(op.results[0].type), str(attribute))
        if key not in self.known:
            value = self.new(op.results[0])
            self.ops.append(Op("constant", (), (value,), {}, op))
            self.known[key] = (value,)
            splat = splat_of(attribute)
            if splat is not None:
                self.splats[value] = splat
        return self.known[key][0]


def splat_of(attribute: Any) -> float | int | bool | None:
    """The one number of a constant whose elements are all the same, or ``None``."""
    if not isinstance(attribute, ir.DenseElementsAttr) or not attribute.is_splat:
        return None
    element = attribute.get_splat_value()
    if isinstance(element, ir.FloatAttr):
        return float(element.value)
    if isinstance(element, ir.BoolAttr) or str(element) in ("true", "false"):
        return str(element) == "true"
    if isinstance(element, ir.IntegerAttr):
        return _unsigned_aware(element)
    return math.nan if "nan" in str(element) else None


def _unsigned_aware(element: Any) -> int:
    return int(str(element).split(":")[0])
