"""Power in f32, computed in float64; that of MLIR is wrong for negative bases and at its edges.

``|x| ** y = 2 ** (y * log2 |x|)``: the logarithm by the series of atanh around 1, the exponential
by its Taylor series on [-0.5, 0.5]. Signs and special values follow IEEE 754's ``pow``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rounding import round_even

if TYPE_CHECKING:
    from ._elementwise import Lanes

_LOG = tuple(2 / n / math.log(2) for n in range(17, 0, -2))
_EXP = tuple(math.log(2) ** n / math.factorial(n) for n in range(11, -1, -1))
_INF = float("inf")


def power(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    x, y = operands
    zero, one = lanes.constant(0, "f32"), lanes.constant(1, "f32")
    wide_y = lanes.w.op(f"arith.extf {y} : {lanes.kind('f32')} to {lanes.kind('f64')}")
    exponent = lanes.op("arith.mulf", "f64", wide_y, _log2(lanes, x))
    size = _exp2(lanes, exponent)
    size = lanes.select("f32", lanes.compare("oeq", "f32", _abs(lanes, x), one), one, size)
    whole, odd = _whole_and_odd(lanes, y)
    turned = lanes.op("math.copysign", "f32", size, x)
    signed = lanes.select("f32", odd, turned, size)
    below = lanes.compare("olt", "f32", x, zero)
    below = _and(lanes, below, lanes.compare("ogt", "f32", x, lanes.constant(-_INF, "f32")))
    fraction = lanes.op("arith.xori", "i1", whole, lanes.constant(True, "i1"))
    unknown = _and(lanes, below, fraction)
    unknown = lanes.op("arith.ori", "i1", unknown, lanes.compare("uno", "f32", x, y))
    result = lanes.select("f32", unknown, lanes.constant(float("nan"), "f32"), signed)
    always = lanes.compare("oeq", "f32", y, zero)
    always = lanes.op("arith.ori", "i1", always, lanes.compare("oeq", "f32", x, one))
    return lanes.select("f32", always, one, result)


def _abs(lanes: Lanes, x: str) -> str:
    return lanes.op("math.absf", "f32", x)


def _and(lanes: Lanes, a: str, b: str) -> str:
    return lanes.op("arith.andi", "i1", a, b)


def _whole_and_odd(lanes: Lanes, y: str) -> tuple[str, str]:
    whole = lanes.compare("oeq", "f32", y, round_even(lanes, "f32", [y]))
    half = lanes.op("arith.mulf", "f32", y, lanes.constant(0.5, "f32"))
    even = lanes.compare("oeq", "f32", half, round_even(lanes, "f32", [half]))
    odd = _and(lanes, whole, lanes.op("arith.xori", "i1", even, lanes.constant(True, "i1")))
    return whole, odd


def _log2(lanes: Lanes, x: str) -> str:
    """log2 |x| in f64; infinite at zero and infinity."""
    w = lanes.w
    size = _abs(lanes, x)
    bits = w.op(f"arith.bitcast {size} : {lanes.kind('f32')} to {lanes.kind('i32')}")
    # The mantissa is taken from [0.707, 1.414): 0x3f3504f3 is the lower end.
    moved = lanes.op("arith.subi", "i32", bits, lanes.constant(0x3F3504F3, "i32"))
    power = lanes.op("arith.shrsi", "i32", moved, lanes.constant(23, "i32"))
    shift = lanes.op("arith.shli", "i32", power, lanes.constant(23, "i32"))
    rest = lanes.op("arith.subi", "i32", bits, shift)
    mantissa = w.op(f"arith.bitcast {rest} : {lanes.kind('i32')} to {lanes.kind('f32')}")
    m = w.op(f"arith.extf {mantissa} : {lanes.kind('f32')} to {lanes.kind('f64')}")
    one = lanes.constant(1, "f64")
    over, under = lanes.op("arith.subf", "f64", m, one), lanes.op("arith.addf", "f64", m, one)
    t = lanes.op("arith.divf", "f64", over, under)
    series = _polynomial(lanes, lanes.op("arith.mulf", "f64", t, t), _LOG)
    series = lanes.op("arith.mulf", "f64", series, t)
    number = w.op(f"arith.sitofp {power} : {lanes.kind('i32')} to {lanes.kind('f64')}")
    result = lanes.op("arith.addf", "f64", number, series)
    infinite = lanes.compare("oeq", "f32", size, lanes.constant(_INF, "f32"))
    result = lanes.select("f64", infinite, lanes.constant(_INF, "f64"), result)
    none = lanes.compare("oeq", "f32", size, lanes.constant(0, "f32"))
    return lanes.select("f64", none, lanes.constant(-_INF, "f64"), result)


def _exp2(lanes: Lanes, x: str) -> str:
    """2 ** x of f64 as f32; any number for NaN."""
    w = lanes.w
    known = lanes.compare("ord", "f64", x, x)
    x = lanes.select("f64", known, x, lanes.constant(0, "f64"))
    x = lanes.op("arith.minimumf", "f64", x, lanes.constant(300, "f64"))
    x = lanes.op("arith.maximumf", "f64", x, lanes.constant(-300, "f64"))
    whole = round_even(lanes, "f64", [x])
    value = _polynomial(lanes, lanes.op("arith.subf", "f64", x, whole), _EXP)
    short = w.op(f"arith.fptosi {whole} : {lanes.kind('f64')} to {lanes.kind('i32')}")
    number = w.op(f"arith.extsi {short} : {lanes.kind('i32')} to {lanes.kind('i64')}")
    biased = lanes.op("arith.addi", "i64", number, lanes.constant(1023, "i64"))
    shifted = lanes.op("arith.shli", "i64", biased, lanes.constant(52, "i64"))
    scale = w.op(f"arith.bitcast {shifted} : {lanes.kind('i64')} to {lanes.kind('f64')}")
    value = lanes.op("arith.mulf", "f64", value, scale)
    return w.op(f"arith.truncf {value} : {lanes.kind('f64')} to {lanes.kind('f32')}")


def _polynomial(lanes: Lanes, x: str, factors: tuple[float, ...]) -> str:
    total = lanes.constant(factors[0], "f64")
    for factor in factors[1:]:
        total = lanes.op("arith.mulf", "f64", total, x)
        total = lanes.op("arith.addf", "f64", total, lanes.constant(factor, "f64"))
    return total
