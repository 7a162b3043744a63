"""Element-wise operations of StableHLO as arith and math operations on scalars or vectors.

Accuracy in f32, measured against float64: exp, tanh, log, log1p, expm1, erf and rsqrt are within
4 ulp (as XLA's are); for sine, cosine, tangent and power see their modules, which compute in
float64 inside (so a kernel needs ``--iree-input-demote-f64-to-f32=false``). For f64 see `_double`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ._casts import convert
from ._double import RULES as _DOUBLE, in_double
from ._ir import Op, Refused
from ._power import power
from ._rounding import round_away, round_even
from ._trigonometry import cosine, sine, tangent
from ._writer import Writer, compute_dtype, is_float, vector

_CONTRACT = "fastmath<contract> "


@dataclass(frozen=True)
class Lanes:
    """Where an operation is written, and how many lanes its values have (0: scalars)."""

    w: Writer
    count: int

    def kind(self, dtype: str) -> str:
        return vector(compute_dtype(dtype), self.count)

    def constant(self, value: Any, dtype: str) -> str:
        return self.w.constant(value, compute_dtype(dtype), self.count)

    def op(self, name: str, dtype: str, *operands: str) -> str:
        return self.w.op(f"{name} {', '.join(operands)} : {self.kind(dtype)}")

    def compare(self, predicate: str, dtype: str, a: str, b: str) -> str:
        name = "arith.cmpf" if is_float(dtype) else "arith.cmpi"
        return self.w.op(f"{name} {predicate}, {a}, {b} : {self.kind(dtype)}")

    def select(self, dtype: str, test: str, a: str, b: str) -> str:
        kinds = f"{self.kind('i1')}, {self.kind(dtype)}" if self.count else self.kind(dtype)
        return self.w.op(f"arith.select {test}, {a}, {b} : {kinds}")


Emit = Callable[[Lanes, str, Sequence[str]], str]


def emit(op: Op, lanes: Lanes, operands: Sequence[str]) -> str:
    """The text of `op` for operands of the same lanes; returns the name of the result."""
    dtype = op.operands[0].dtype
    if op.kind == "compare":
        return _compare(op, lanes, operands)
    if op.kind == "select":
        return lanes.select(op.result.dtype, *operands)
    if op.kind == "convert":
        return convert(lanes, dtype, op.result.dtype, operands[0])
    if op.kind == "reduce_precision":
        return convert(lanes, "f32", "bf16", operands[0])
    if op.kind == "is_finite":
        return _is_finite(lanes, dtype, operands[0])
    if op.kind == "clamp":
        low, x, high = operands
        return binary("minimum", lanes, dtype, binary("maximum", lanes, dtype, x, low), high)
    return _rule(op.kind, dtype)(lanes, dtype, operands)


def binary(kind: str, lanes: Lanes, dtype: str, a: str, b: str) -> str:
    """A binary operation of the table by its StableHLO name."""
    return _rule(kind, dtype)(lanes, dtype, (a, b))


def check(op: Op) -> None:
    """Refuse `op` if it is element-wise but has no rule for its types."""
    special = {"compare", "select", "convert", "reduce_precision", "is_finite", "clamp"}
    if op.kind not in special:
        _rule(op.kind, op.operands[0].dtype)
    if op.kind == "reduce_precision" and op.result.dtype == "f64":
        raise Refused("stablehlo.reduce_precision", "no rule for elements of type f64")
    if op.kind == "reduce_precision" and not _is_bf16(op):
        raise Refused("stablehlo.reduce_precision", "bits that are not those of bfloat16")


def _rule(kind: str, dtype: str) -> Emit:
    table = _FLOAT if is_float(dtype) else _BOOL if dtype == "i1" else _INT
    if kind not in table:
        raise Refused(f"stablehlo.{kind}", f"no rule for elements of type {dtype}")
    return _DOUBLE.get(kind, table[kind]) if dtype == "f64" else table[kind]


def _plain(name: str) -> Emit:
    return lambda lanes, dtype, operands: lanes.op(name, dtype, *operands)


def _fast(name: str) -> Emit:
    """Lets LLVM join a product and a sum into one instruction, as XLA does."""

    def rule(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
        return lanes.w.op(f"{name} {', '.join(operands)} {_CONTRACT}: {lanes.kind(dtype)}")

    return rule


def _signed(signed: str, unsigned: str) -> Emit:
    def rule(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
        return lanes.op(unsigned if dtype.startswith("u") else signed, dtype, *operands)

    return rule


def _logistic(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    one = lanes.constant(1, dtype)
    power = lanes.op("math.exp", dtype, lanes.op("arith.negf", dtype, operands[0]))
    return lanes.op("arith.divf", dtype, one, lanes.op("arith.addf", dtype, power, one))


def _sign_float(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    (x,) = operands
    flat = lanes.compare("ueq", dtype, x, lanes.constant(0, dtype))
    unit = lanes.op("math.copysign", dtype, lanes.constant(1, dtype), x)
    return lanes.select(dtype, flat, x, unit)


def _sign_int(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    one, zero = lanes.constant(1, dtype), lanes.constant(0, dtype)
    if dtype.startswith("u"):
        return lanes.op("arith.minui", dtype, operands[0], one)
    low = lanes.op("arith.minsi", dtype, operands[0], one)
    return lanes.op("arith.maxsi", dtype, low, lanes.op("arith.subi", dtype, zero, one))


def _negate_int(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    return lanes.op("arith.subi", dtype, lanes.constant(0, dtype), operands[0])


def _abs_int(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    return lanes.op("arith.maxsi", dtype, operands[0], _negate_int(lanes, dtype, operands))


def _not(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    return lanes.op("arith.xori", dtype, operands[0], lanes.constant(-1, dtype))


def _not_bool(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    return lanes.op("arith.xori", dtype, operands[0], lanes.constant(True, dtype))


def _divide_int(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    """XLA's rules: x / 0 is -1, and the lowest number by -1 is itself."""
    x, y = operands
    one = lanes.constant(1, dtype)
    unsafe, safe = _safe_divisor(lanes, dtype, x, y)
    name = "arith.divui" if dtype.startswith("u") else "arith.divsi"
    quotient = lanes.op(name, dtype, x, safe)
    if not dtype.startswith("u"):
        minus = lanes.compare("eq", dtype, y, lanes.constant(-1, dtype))
        quotient = lanes.select(dtype, minus, _negate_int(lanes, dtype, [x]), quotient)
    return lanes.select(
        dtype, unsafe, _not(lanes, dtype, [lanes.op("arith.subi", dtype, one, one)]), quotient
    )


def _remainder_int(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    """XLA's rules: x % 0 is x."""
    x, y = operands
    unsafe, safe = _safe_divisor(lanes, dtype, x, y)
    name = "arith.remui" if dtype.startswith("u") else "arith.remsi"
    return lanes.select(dtype, unsafe, x, lanes.op(name, dtype, x, safe))


def _safe_divisor(lanes: Lanes, dtype: str, x: str, y: str) -> tuple[str, str]:
    one, zero = lanes.constant(1, dtype), lanes.constant(0, dtype)
    unsafe = lanes.compare("eq", dtype, y, zero)
    safe = lanes.select(dtype, unsafe, one, y)
    if not dtype.startswith("u"):
        minus = lanes.compare("eq", dtype, y, lanes.constant(-1, dtype))
        safe = lanes.select(dtype, minus, one, safe)
    return unsafe, safe


def _is_finite(lanes: Lanes, dtype: str, x: str) -> str:
    size = lanes.op("math.absf", dtype, x)
    return lanes.compare("olt", dtype, size, lanes.constant(float("inf"), compute_dtype(dtype)))


_DIRECTIONS = {"EQ": "eq", "NE": "ne", "LT": "lt", "LE": "le", "GT": "gt", "GE": "ge"}


def _compare(op: Op, lanes: Lanes, operands: Sequence[str]) -> str:
    direction = _DIRECTIONS[op.attrs["direction"]]
    dtype = op.operands[0].dtype
    if is_float(dtype):
        prefix = "u" if direction == "ne" else "o"
    elif direction in ("eq", "ne"):
        prefix = ""
    else:
        prefix = "u" if dtype.startswith("u") or dtype == "i1" else "s"
    return lanes.compare(prefix + direction, dtype, *operands)


def _is_bf16(op: Op) -> bool:
    return (op.attrs["exponent"], op.attrs["mantissa"]) == (8, 7)


_FLOAT: dict[str, Emit] = {
    "add": _fast("arith.addf"),
    "subtract": _fast("arith.subf"),
    "multiply": _fast("arith.mulf"),
    "divide": _plain("arith.divf"),
    "maximum": _plain("arith.maximumf"),
    "minimum": _plain("arith.minimumf"),
    "power": power,
    "remainder": _plain("arith.remf"),
    "negate": _plain("arith.negf"),
    "abs": _plain("math.absf"),
    "exponential": _plain("math.exp"),
    "exponential_minus_one": _plain("math.expm1"),
    "log": _plain("math.log"),
    "log_plus_one": _plain("math.log1p"),
    "logistic": _logistic,
    "tanh": _plain("math.tanh"),
    "sqrt": _plain("math.sqrt"),
    "rsqrt": _plain("math.rsqrt"),
    "erf": _plain("math.erf"),
    "floor": _plain("math.floor"),
    "ceil": _plain("math.ceil"),
    "round_nearest_even": round_even,
    "round_nearest_afz": round_away,
    "sign": _sign_float,
    "sine": sine,
    "cosine": cosine,
    "tan": tangent,
    "atan2": in_double("atan2"),
    "cbrt": in_double("cbrt"),
}
_INT: dict[str, Emit] = {
    "add": _plain("arith.addi"),
    "subtract": _plain("arith.subi"),
    "multiply": _plain("arith.muli"),
    "divide": _divide_int,
    "remainder": _remainder_int,
    "maximum": _signed("arith.maxsi", "arith.maxui"),
    "minimum": _signed("arith.minsi", "arith.minui"),
    "negate": _negate_int,
    "abs": _abs_int,
    "sign": _sign_int,
    "and": _plain("arith.andi"),
    "or": _plain("arith.ori"),
    "xor": _plain("arith.xori"),
    "not": _not,
}
_BOOL: dict[str, Emit] = {
    "and": _plain("arith.andi"),
    "or": _plain("arith.ori"),
    "xor": _plain("arith.xori"),
    "not": _not_bool,
    "add": _plain("arith.ori"),
    "multiply": _plain("arith.andi"),
    "maximum": _plain("arith.ori"),
    "minimum": _plain("arith.andi"),
}
ELEMENTWISE = frozenset(
    {*_FLOAT, *_INT, *_BOOL}
    | {"compare", "select", "convert", "clamp", "is_finite", "reduce_precision"}
    | {"power", "atan2", "cbrt", "popcnt", "shift_left", "bitcast_convert", "real", "imag"}
    | {"shift_right_logical", "shift_right_arithmetic", "count_leading_zeros"}
)
EXPENSIVE = frozenset(
    "exponential exponential_minus_one log log_plus_one logistic tanh sine cosine tan erf sqrt "
    "rsqrt power divide remainder atan2 cbrt".split()
)
