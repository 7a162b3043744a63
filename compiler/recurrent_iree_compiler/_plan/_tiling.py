"""Data tiling: whether IREE packs the operands of the products outside of the loops."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recurrent_iree_compiler._fused import Machine
from recurrent_iree_compiler._mlir import Module, ir

from ._decision import Decision
from ._recurrence import functions, walk

FLAGS = ("--iree-opt-data-tiling",)
_FEWEST_ROWS = 8  # below, a product reads its weight once or twice, and packing gains nothing
_WORTH_PACKING = 40 << 10  # bytes of a factor of a product whose sizes are unknown or uneven
_EVEN = 4  # IREE cuts other sizes into tiles that divide them: a prime into single rows
_ANY_ROWS = "64"  # a guess at a number of steps that is not known
_BYTES = {"f64": 8, "f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i8": 1}
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")
_WITHOUT_LOOP = ("fused kernel", "single step", "steps in a row")
_CALLS = {"func.call": "callee", "stablehlo.composite": "decomposition"}


@dataclass(frozen=True)
class Tiling:
    """Whether products outside of the loops are packed, and why.

    Attributes:
        kernels: how many others are kernels.
        cut: how many of them are long sums that are computed in parts.
    """

    packed: bool
    reason: str
    kernels: int = 0
    cut: int = 0

    @property
    def flags(self) -> tuple[str, ...]:
        """What to tell ``iree-compile``."""
        return FLAGS if self.packed else ()

    @property
    def text(self) -> str:
        """The choice as a line of the report."""
        others = f"; {self.kernels} with weights are kernels" if self.kernels else ""
        others += f"; {self.cut} long sums in parts that fit a cache" if self.cut else ""
        return f"{'packed' if self.packed else 'not packed'}: {self.reason}{others}"


def choose_tiling(
    module: Module, machine: Machine, decisions: Sequence[Decision], forced: bool | None
) -> Tiling:
    """Whether data tiling is worth it for a planned `module`.

    IREE packs both operands of a product into tiles. For weights that is done once, when the module
    is loaded; for the other operand at each call. That pays where the weight is large, so that
    reading it in rows misses the cache, and is read for many rows. Inside of a loop the operand
    that changes would be packed at every step. Products of unknown sizes, and of sizes that tiles
    do not divide, are cut into small tiles without packing, and take up to three times as long.

    Args:
        module: after the recurrences have their form.
        machine: what is known of the CPU.
        decisions: the forms of the recurrences.
        forced: the choice of the caller; ``None`` leaves it to the cost model.
    """
    if forced is not None:
        return Tiling(forced, "chosen by the caller")
    loops = sum(d.form not in _WITHOUT_LOOP for d in decisions)
    if loops:
        return Tiling(False, f"{loops} recurrences run as loops, which would pack at every step")
    limit = machine.l2 // 2
    products = _products(module)
    largest = max((_larger_factor(op) for op in products), default=0)
    unknown = max((_larger_factor(op) for op in products if _is_unknown(op)), default=0)
    if unknown >= _WORTH_PACKING:
        return Tiling(True, "a product has unknown sizes, and IREE is slow at these in rows")
    uneven = max((_larger_factor(op) for op in products if _is_uneven(op)), default=0)
    if uneven >= _WORTH_PACKING:
        return Tiling(True, "tiles do not divide the sizes of a product, and IREE is slow at these")
    if largest < limit:
        return Tiling(False, f"no product has a factor as large as half a cache ({limit} B)")
    return Tiling(True, f"a product has a factor of {largest} B, more than half a cache")


def _products(module: Module) -> list[Any]:
    """The products that the public functions reach."""
    by_symbol = functions(module)
    seen: set[str] = set()
    pending = [s for s, f in by_symbol.items() if not _is_private(f)]
    found = []
    while pending:
        symbol = pending.pop()
        if symbol in seen or symbol not in by_symbol:
            continue
        seen.add(symbol)
        for op in walk(by_symbol[symbol]):
            if op.name == "stablehlo.dot_general":
                found.append(op)
            elif op.name in _CALLS:
                pending.append(ir.FlatSymbolRefAttr(op.attributes[_CALLS[op.name]]).value)
    return found


def _is_private(function: Any) -> bool:
    attributes = function.attributes
    return "sym_visibility" in attributes and "private" in str(attributes["sym_visibility"])


def _is_unknown(op: Any) -> bool:
    return any("?" in str(v.type) for v in op.operands)


def _is_uneven(op: Any) -> bool:
    sizes = _sizes(op)
    return sizes is not None and any(n % _EVEN for n in sizes[:2])


def _larger_factor(op: Any) -> int:
    """Bytes of the larger factor; 0 for a batch of products, and for few rows or columns."""
    sizes = _sizes(op)
    if sizes is None or min(sizes[:2]) < _FEWEST_ROWS:
        return 0
    rows, columns, depth = sizes
    width = [_BYTES.get(str(v.type.element_type), 4) for v in op.operands]
    return max(rows * depth * width[0], columns * depth * width[1])


def _sizes(op: Any) -> tuple[int, int, int] | None:
    """Rows, columns and what is contracted; ``None`` for batches of products or no elements."""
    types = (str(v.type).replace("?", _ANY_ROWS) for v in (*op.operands, op.results[0]))
    tensors = [_TENSOR.fullmatch(text) for text in types]
    if not all(tensors) or "batching" in str(op.attributes["dot_dimension_numbers"]):
        return None
    left, right, result = (
        math.prod(int(n) for n in t[1].split("x") if n) for t in tensors if t is not None
    )
    if not left * right * result:
        return None
    # (m k) (m n) / (k n) is the square of the rows, and likewise for the columns.
    rows, columns = math.isqrt(left * result // right), math.isqrt(right * result // left)
    return rows, columns, left // rows
