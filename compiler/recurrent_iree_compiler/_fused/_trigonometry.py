"""Sine, cosine and tangent in f32; those of MLIR lose thousands of ulp.

The argument is reduced by multiples of pi/2 in float64, so the result is within 2 ulp for
``|x| < 1e6`` and loses accuracy slowly beyond. Polynomials: Cephes (sinf, cosf) on [-pi/4, pi/4].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rounding import round_even

if TYPE_CHECKING:
    from ._elementwise import Lanes

_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def sine(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    quadrant, s, c = _reduced(lanes, operands[0])
    return _in_quadrant(lanes, quadrant, s, c)


def cosine(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    quadrant, s, c = _reduced(lanes, operands[0])
    turned = lanes.op("arith.addi", "i32", quadrant, lanes.constant(1, "i32"))
    return _in_quadrant(lanes, turned, s, c)


def tangent(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    return lanes.op(
        "arith.divf", dtype, sine(lanes, dtype, operands), cosine(lanes, dtype, operands)
    )


def _reduced(lanes: Lanes, x: str) -> tuple[str, str, str]:
    """The quadrant of `x`, and the sine and cosine of what is left of it."""
    w = lanes.w
    wide = w.op(f"arith.extf {x} : {lanes.kind('f32')} to {lanes.kind('f64')}")
    turns = lanes.op("arith.mulf", "f64", wide, lanes.constant(0.6366197723675814, "f64"))
    turns = round_even(lanes, "f64", [turns])
    rest = wide
    for part in (1.5707963267341256, 6.077100506506192e-11):
        step = lanes.op("arith.mulf", "f64", turns, lanes.constant(part, "f64"))
        rest = lanes.op("arith.subf", "f64", rest, step)
    r = w.op(f"arith.truncf {rest} : {lanes.kind('f64')} to {lanes.kind('f32')}")
    bound = lanes.constant(2.0**30, "f64")
    turns = lanes.op("arith.minimumf", "f64", turns, bound)
    turns = lanes.op("arith.maximumf", "f64", turns, lanes.constant(-(2.0**30), "f64"))
    known = lanes.compare("ord", "f64", turns, turns)
    turns = lanes.select("f64", known, turns, lanes.constant(0, "f64"))
    quadrant = w.op(f"arith.fptosi {turns} : {lanes.kind('f64')} to {lanes.kind('i32')}")
    square = lanes.op("arith.mulf", "f32", r, r)
    s = _polynomial(lanes, square, _SINE)
    s = lanes.op("arith.mulf", "f32", lanes.op("arith.mulf", "f32", s, square), r)
    s = lanes.op("arith.addf", "f32", s, r)
    c = _polynomial(lanes, square, _COSINE)
    c = lanes.op("arith.mulf", "f32", lanes.op("arith.mulf", "f32", c, square), square)
    half = lanes.op("arith.mulf", "f32", square, lanes.constant(-0.5, "f32"))
    c = lanes.op("arith.addf", "f32", c, half)
    return quadrant, s, lanes.op("arith.addf", "f32", c, lanes.constant(1, "f32"))


def _polynomial(lanes: Lanes, x: str, factors: tuple[float, ...]) -> str:
    total = lanes.constant(factors[0], "f32")
    for factor in factors[1:]:
        total = lanes.op("arith.mulf", "f32", total, x)
        total = lanes.op("arith.addf", "f32", total, lanes.constant(factor, "f32"))
    return total


def _in_quadrant(lanes: Lanes, quadrant: str, s: str, c: str) -> str:
    zero = lanes.constant(0, "i32")
    odd = lanes.op("arith.andi", "i32", quadrant, lanes.constant(1, "i32"))
    value = lanes.select("f32", lanes.compare("ne", "i32", odd, zero), c, s)
    upper = lanes.op("arith.andi", "i32", quadrant, lanes.constant(2, "i32"))
    flipped = lanes.op("arith.negf", "f32", value)
    return lanes.select("f32", lanes.compare("ne", "i32", upper, zero), flipped, value)
