"""Sine, cosine and tangent in f64, for any argument.

The argument is reduced by multiples of pi/2 to a pair of values: up to 2**20 with pi/2 in four
parts, beyond (Payne and Hanek's way) by the digits of 2/pi that matter for its exponent. Taylor
series on [-pi/4, pi/4]. Measured against extended precision: within 1 ulp, tangent within 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

from ._real import (
    Pair,
    Real,
    any_sum_of,
    cast,
    of_bits,
    of_integer,
    pair_product,
    sum_of,
    where_any,
)

if TYPE_CHECKING:
    from ._elementwise import Lanes

_MOST = 2.0**20
_SINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(17, 1, -2))
_COSINE = tuple((-1) ** (n // 2) / math.factorial(n) for n in range(18, 2, -2))
_WORD = (1 << 32) - 1
_WORDS = 37


def sine(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    x = Real(lanes, operands[0])
    quadrant, s, c = _reduced(x)
    value = _in_quadrant(lanes, quadrant, s, c)
    sign = lanes.op("arith.andi", "i64", x.bits(), lanes.constant(1 << 63, "i64"))
    value = of_bits(lanes, lanes.op("arith.xori", "i64", value.bits(), sign))
    return value.if_(_finite(x), x - x).name


def cosine(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    x = Real(lanes, operands[0])
    quadrant, s, c = _reduced(x)
    turned = lanes.op("arith.addi", "i32", quadrant, lanes.constant(1, "i32"))
    return _in_quadrant(lanes, turned, s, c).if_(_finite(x), x - x).name


def tangent(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    up, down = sine(lanes, dtype, operands), cosine(lanes, dtype, operands)
    return (Real(lanes, up) / Real(lanes, down)).name


def _finite(x: Real) -> str:
    return abs(x).is_("olt", math.inf)


def _in_quadrant(lanes: Lanes, quadrant: str, s: Real, c: Real) -> Real:
    zero = lanes.constant(0, "i32")
    odd = lanes.op("arith.andi", "i32", quadrant, lanes.constant(1, "i32"))
    value = c.if_(lanes.compare("ne", "i32", odd, zero), s)
    upper = lanes.op("arith.andi", "i32", quadrant, lanes.constant(2, "i32"))
    return (-value).if_(lanes.compare("ne", "i32", upper, zero), value)


def _reduced(x: Real) -> tuple[str, Real, Real]:
    """The quadrant of `|x|`, and the sine and cosine of what is left of it."""
    lanes, size = x.lanes, abs(x)
    near = size.if_(size.is_("ole", _MOST), 0)
    quadrant, (r, tail) = _near(near)
    far = lanes.op("arith.andi", "i1", size.is_("ogt", _MOST), _finite(x))
    kinds = ("i32", "f64", "f64")
    names = where_any(
        lanes, far, kinds, (quadrant, r.name, tail.name), lambda: _far(lanes, size.bits())
    )
    quadrant, r, tail = names[0], Real(lanes, names[1]), Real(lanes, names[2])
    square = r * r
    s = r + (square * r * square.polynomial(_SINE) + tail * (1 - 0.5 * square))
    half = 0.5 * square
    main = 1 - half
    rest = square * square * square.polynomial(_COSINE) - r * tail
    return quadrant, s, main + (((1 - main) - half) + rest)


def _near(x: Real) -> tuple[str, Pair]:
    """Quadrant and rest of at most `_MOST`; multiples of the first three parts are exact."""
    first, second, third, fourth = _half_pi()
    turns = (x * (2 / math.pi)).rounded()
    large, lost = any_sum_of(x - turns * first, -(turns * second))
    large, more = any_sum_of(large, -(turns * third))
    quadrant = cast(x.lanes, "arith.fptosi", turns.name, "f64", "i32")
    return quadrant, sum_of(large, (lost + more) - turns * fourth)


def _far(lanes: Lanes, bits: str) -> list[str]:
    """Quadrant and rest of a large value with these bits."""

    def op(name: str, a: str, b: str | int) -> str:
        b = b if isinstance(b, str) else lanes.constant(b, "i64")
        return lanes.op(f"arith.{name}", "i64", a, b)

    # The value is `mantissa << shift` times 2 ** (32 * place - 32).
    power = op("subi", op("shrui", bits, 52), 1075 - 32)
    place, shift = op("shrsi", power, 5), op("andi", power, 31)
    mantissa = op("ori", op("andi", bits, (1 << 52) - 1), 1 << 52)
    low = op("shli", op("andi", mantissa, _WORD), shift)
    high = op("addi", op("shli", op("shrui", mantissa, 32), shift), op("shrui", low, 32))
    factors = [op("andi", low, _WORD), op("andi", high, _WORD), op("shrui", high, 32)]
    words = _words_from(lanes, place)
    digits = [lanes.constant(0, "i64")] * 6
    for j in range(6):
        for a, factor in enumerate(factors):
            product = op("muli", factor, words[a + j])
            digits[j] = op("addi", digits[j], op("andi", product, _WORD))
            if j:
                digits[j - 1] = op("addi", digits[j - 1], op("shrui", product, 32))
    for j in range(5, 0, -1):
        digits[j - 1] = op("addi", digits[j - 1], op("shrui", digits[j], 32))
        digits[j] = op("andi", digits[j], _WORD)
    upper = op("shrui", digits[1], 31)
    quadrant = op("addi", op("andi", digits[0], 3), upper)
    flip = op("andi", op("subi", lanes.constant(0, "i64"), upper), _WORD)
    parts = [of_integer(lanes, op("xori", digits[j], flip)) * 2.0 ** (-32 * j) for j in range(1, 6)]
    total, rest = sum_of(parts[0], parts[1])
    pair = sum_of(total, rest + (parts[2] + (parts[3] + parts[4])))
    more = float((_pi() - Fraction(math.pi)) / 2)
    r, tail = pair_product(pair, (total.number(math.pi / 2), total.number(more)))
    negative = lanes.compare("ne", "i64", upper, lanes.constant(0, "i64"))
    short = cast(lanes, "arith.trunci", quadrant, "i64", "i32")
    return [short, (-r).if_(negative, r).name, (-tail).if_(negative, tail).name]


def _words_from(lanes: Lanes, place: str) -> list[str]:
    """The eight words of 2/pi from `place` on, by shifting all of them by its five bits."""
    words = [lanes.constant(w, "i64") for w in (0, 0, *_two_over_pi())]
    zero = lanes.constant(0, "i64")
    for step, count in ((16, 23), (8, 15), (4, 11), (2, 9), (1, 8)):
        bit = lanes.op("arith.andi", "i64", place, lanes.constant(step, "i64"))
        on = lanes.compare("ne", "i64", bit, zero)
        words = [lanes.select("i64", on, words[i + step], words[i]) for i in range(count)]
    return words


@cache
def _pi() -> Fraction:
    """By Machin's formula, to 1300 bits."""
    one = 1 << 1300

    def arctangent(n: int) -> int:
        total, term, k = 0, one // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    return Fraction(16 * arctangent(5) - 4 * arctangent(239), one)


@cache
def _half_pi() -> tuple[float, ...]:
    """pi/2 as a sum; the first three parts have 33 bits."""
    rest, parts = _pi() / 2, []
    for bits in (32, 65, 98):
        part = Fraction(math.floor(rest * 2**bits), 2**bits)
        parts.append(float(part))
        rest -= part
    return (*parts, float(rest))


@cache
def _two_over_pi() -> tuple[int, ...]:
    digits = math.floor(2 / _pi() * 2 ** (32 * _WORDS))
    return tuple((digits >> 32 * (_WORDS - 1 - i)) & _WORD for i in range(_WORDS))
