"""Products outside of the loops that become kernels, because IREE is slower at them."""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._fused import (
    Machine,
    erase_unused,
    fuse_product,
    narrow_of,
    product_of,
)
from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import functions, walk

PREFIX = "product_kernel"
FEWEST_ROWS = 8
SMALLEST = 16 << 10  # bytes of the matrix


def count_products(module: Module) -> int:
    """How many products of `module` are kernels."""
    calls = (op for f in functions(module).values() for op in walk(f) if op.name == "func.call")
    names = (ir.FlatSymbolRefAttr(op.attributes["callee"]).value for op in calls)
    return sum(name.startswith(PREFIX) for name in names)


def fuse_products(module: Module, machine: Machine, spliced: dict[str, str]) -> None:
    """Put kernels in the place of products of rows with weights, in `module`."""
    weights = _Weights(module)
    count = 0
    for symbol, function in functions(module).items():
        if not weights.is_called_once(symbol):
            continue
        block = function.regions[0].blocks[0]
        erase_unused(block)
        for product in [product_of(op.operation) for op in block.operations]:
            if (
                product is None
                or product.rows < FEWEST_ROWS
                or product.bytes < SMALLEST
                or narrow_of(product.weight) is not None
                or not weights.is_weight(product.weight, symbol)
                or weights.is_weight(product.x, symbol)
            ):
                continue
            fuse_product(module, product, machine, f"{PREFIX}{count}", spliced)
            count += 1


class _Weights:
    """Which values are made of weights and constants alone, so that they are packed only once."""

    def __init__(self, module: Module) -> None:
        self.calls: dict[str, list[tuple[str, Any]]] = {}
        self.known: dict[Any, bool] = {}
        for symbol, function in functions(module).items():
            for op in walk(function):
                for key in ("callee", "decomposition"):
                    if key in op.attributes:
                        callee = ir.FlatSymbolRefAttr(op.attributes[key]).value
                        self.calls.setdefault(callee, []).append((symbol, op))

    def is_called_once(self, symbol: str) -> bool:
        """Whether the function is one that a single call reaches."""
        calls = self.calls.get(symbol, [])
        return len(calls) == 1 and calls[0][1].name == "func.call"

    def is_weight(self, value: Any, symbol: str) -> bool:
        """Whether a value of the function `symbol` is the same at every call."""
        if value not in self.known:
            self.known[value] = self._is_weight(value, symbol)
        return self.known[value]

    def _is_weight(self, value: Any, symbol: str) -> bool:
        owner = value.owner
        if isinstance(owner, ir.Block):
            if not self.is_called_once(symbol):
                return False
            ((caller, call),) = self.calls[symbol]
            number = ir.BlockArgument(value).arg_number
            return self.is_weight(call.operands[number], caller)
        op = getattr(owner, "operation", owner)
        if op.name in ("util.global.load", "stablehlo.constant"):
            return True
        plain = op.name.startswith("stablehlo.") and bool(op.operands) and not list(op.regions)
        return plain and all(self.is_weight(v, symbol) for v in op.operands)
