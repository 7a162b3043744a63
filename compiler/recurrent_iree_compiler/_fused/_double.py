"""Functions in f64, which IREE leaves to a library that a module does not have.

Here are exponentials and logarithms; the table at the end names those of other modules.

Derived from series: arguments are reduced by multiples of ln 2 in two parts, of which the first has
so few bits that its multiples are exact. Measured against extended precision: within 2 ulp; tanh,
logistic and expm1 within 4; erf within 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._double_arctangent import angle
from ._double_power import cube_root, power
from ._double_remainder import remainder
from ._double_trigonometry import cosine, sine, tangent
from ._real import cast
from ._rounding import round_even

if TYPE_CHECKING:
    from ._elementwise import Emit, Lanes

_INF = float("inf")
# ln 2 = _HIGH + _LOW; _HIGH has 40 bits.
_HIGH = math.floor(math.log(2) * 2**40) / 2**40
_LOW = 7.371002565167799e-13
_EXP = tuple(1 / math.factorial(n) for n in range(14, 1, -1))
_LOG = tuple(2 / n for n in range(25, 1, -2))
# The series of erf, and the points of a rectangle rule for 1 - erf: squares and weights.
_ERF = tuple(
    (-1) ** n * 2 / math.sqrt(math.pi) / (math.factorial(n) * (2 * n + 1))
    for n in range(19, -1, -1)
)
_WIDTH = 0.5
_POINTS = tuple(((n * _WIDTH) ** 2, math.exp(-((n * _WIDTH) ** 2))) for n in range(1, 13))
_ROOT_HALF = 0x3FE6A09E667F3BCD


@dataclass(frozen=True)
class _Double:
    """Arithmetic on f64 values of some lanes, by short names."""

    lanes: Lanes

    def number(self, value: float) -> str:
        return self.lanes.constant(value, "f64")

    def add(self, a: str, b: str) -> str:
        return self.lanes.op("arith.addf", "f64", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.lanes.op("arith.subf", "f64", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.lanes.op("arith.mulf", "f64", a, b)

    def div(self, a: str, b: str) -> str:
        return self.lanes.op("arith.divf", "f64", a, b)

    def where(self, predicate: str, a: str, b: str, yes: str, no: str) -> str:
        return self.lanes.select("f64", self.lanes.compare(predicate, "f64", a, b), yes, no)

    def polynomial(self, x: str, factors: Sequence[float]) -> str:
        total = self.number(factors[0])
        for factor in factors[1:]:
            total = self.add(self.mul(total, x), self.number(factor))
        return total

    def cast(self, name: str, x: str, a: str, b: str) -> str:
        return self.lanes.w.op(f"{name} {x} : {self.lanes.kind(a)} to {self.lanes.kind(b)}")

    def two_to(self, whole: str) -> str:
        """2 ** `whole`, a whole number between -1022 and 1023."""
        short = self.cast("arith.fptosi", whole, "f64", "i32")
        wide = self.cast("arith.extsi", short, "i32", "i64")
        biased = self.lanes.op("arith.addi", "i64", wide, self.lanes.constant(1023, "i64"))
        bits = self.lanes.op("arith.shli", "i64", biased, self.lanes.constant(52, "i64"))
        return self.cast("arith.bitcast", bits, "i64", "f64")

    def bounded(self, x: str, low: float, high: float) -> str:
        """`x` within bounds; NaN becomes zero, so that conversions to integers are defined."""
        x = self.where("ord", x, x, x, self.number(0))
        x = self.lanes.op("arith.minimumf", "f64", x, self.number(high))
        return self.lanes.op("arith.maximumf", "f64", x, self.number(low))

    def reduced(self, x: str) -> tuple[str, str]:
        """``(n, exp(r) - 1)`` with ``x = n ln 2 + r``."""
        whole = round_even(self.lanes, "f64", [self.mul(x, self.number(1 / math.log(2)))])
        r = self.sub(x, self.mul(whole, self.number(_HIGH)))
        r = self.sub(r, self.mul(whole, self.number(_LOW)))
        tail = self.mul(self.mul(r, r), self.polynomial(r, _EXP))
        return whole, self.add(r, tail)

    def scaled(self, value: str, whole: str) -> str:
        """`value` times 2 ** `whole`, in two steps, because the power alone may overflow."""
        half = round_even(self.lanes, "f64", [self.mul(whole, self.number(0.5))])
        rest = self.sub(whole, half)
        return self.mul(self.mul(value, self.two_to(half)), self.two_to(rest))

    def exponential(self, x: str) -> str:
        whole, rest = self.reduced(self.bounded(x, -746.0, 710.0))
        value = self.scaled(self.add(self.number(1), rest), whole)
        return self.where("uno", x, x, x, value)

    def minus_one(self, x: str) -> str:
        whole, rest = self.reduced(self.bounded(x, -746.0, 710.0))
        large = self.sub(self.scaled(self.add(self.number(1), rest), whole), self.number(1))
        power = self.two_to(self.bounded(whole, -60, 60))
        small = self.add(self.mul(power, rest), self.sub(power, self.number(1)))
        value = self.where("ogt", whole, self.number(55), large, small)
        value = self.where("oeq", x, self.number(0), x, value)
        return self.where("uno", x, x, x, value)

    def logarithm(self, x: str) -> str:
        lanes = self.lanes
        tiny = lanes.compare("olt", "f64", x, self.number(2.0**-1022))
        scaled = lanes.select("f64", tiny, self.mul(x, self.number(2.0**54)), x)
        bits = self.cast("arith.bitcast", scaled, "f64", "i64")
        moved = lanes.op("arith.subi", "i64", bits, lanes.constant(_ROOT_HALF, "i64"))
        power = lanes.op("arith.shrsi", "i64", moved, lanes.constant(52, "i64"))
        shift = lanes.op("arith.shli", "i64", power, lanes.constant(52, "i64"))
        mantissa = lanes.op("arith.subi", "i64", bits, shift)
        f = self.sub(self.cast("arith.bitcast", mantissa, "i64", "f64"), self.number(1))
        short = self.cast("arith.trunci", power, "i64", "i32")
        number = self.cast("arith.sitofp", short, "i32", "f64")
        less = self.sub(number, self.number(54))
        number = lanes.select("f64", tiny, less, number)
        value = self.near_one(f, number)
        value = self.where("oeq", x, self.number(0), self.number(-_INF), value)
        value = self.where("olt", x, self.number(0), self.number(float("nan")), value)
        value = self.where("oeq", x, self.number(_INF), x, value)
        return self.where("uno", x, x, x, value)

    def near_one(self, f: str, number: str) -> str:
        """``log(1 + f) + number ln 2``: with ``s = f / (2 + f)`` the series of atanh, and
        ``2 s = f - (f*f/2 - s*f*f/2)``, whose first term is exact."""
        s = self.div(f, self.add(self.number(2), f))
        square = self.mul(s, s)
        series = self.mul(square, self.polynomial(square, _LOG))
        half = self.mul(self.mul(f, f), self.number(0.5))
        low = self.mul(number, self.number(_LOW))
        right = self.add(self.mul(s, self.add(half, series)), low)
        rest = self.sub(self.sub(half, right), f)
        return self.sub(self.mul(number, self.number(_HIGH)), rest)

    def of_one_plus(self, x: str) -> str:
        one = self.number(1)
        u = self.add(one, x)
        lost = self.where(
            "oge", x, one, self.sub(one, self.sub(u, x)), self.sub(x, self.sub(u, one))
        )
        value = self.add(self.logarithm(u), self.div(lost, u))
        value = self.where("oeq", u, self.number(0), self.number(-_INF), value)
        value = self.where("oeq", u, self.number(_INF), u, value)
        return self.where("oeq", x, self.number(0), x, value)

    def hyperbolic_tangent(self, x: str) -> str:
        size = self.lanes.op("math.absf", "f64", x)
        size = self.lanes.op("arith.minimumf", "f64", size, self.number(22))
        grown = self.minus_one(self.add(size, size))
        value = self.div(grown, self.add(grown, self.number(2)))
        return self.lanes.op("math.copysign", "f64", value, x)

    def sigmoid(self, x: str) -> str:
        one = self.number(1)
        power = self.exponential(self.lanes.op("arith.negf", "f64", x))
        return self.div(one, self.add(one, power))

    def error_function(self, x: str) -> str:
        """A series below one; above it what is missing to one, as the integral of
        ``x exp(-x*x - t*t) / pi / (x*x + t*t)``. Its rectangle rule is exact but for a last term
        that is known."""
        lanes, one = self.lanes, self.number(1)
        size = lanes.op("arith.minimumf", "f64", lanes.op("math.absf", "f64", x), self.number(6))
        square = self.mul(size, size)
        near = self.mul(size, self.polynomial(square, _ERF))
        total = self.div(self.number(0.5), square)
        for place, weight in _POINTS:
            part = self.div(self.number(weight), self.add(square, self.number(place)))
            total = self.add(total, part)
        scale = self.mul(size, self.number(2 * _WIDTH / math.pi))
        power = self.exponential(lanes.op("arith.negf", "f64", square))
        missing = self.mul(self.mul(scale, power), total)
        last = self.minus_one(self.mul(size, self.number(2 * math.pi / _WIDTH)))
        missing = self.sub(missing, self.div(self.number(2), last))
        value = self.where("olt", size, one, near, self.sub(one, missing))
        return lanes.op("math.copysign", "f64", value, x)

    def inverse_root(self, x: str) -> str:
        return self.div(self.number(1), self.lanes.op("math.sqrt", "f64", x))


_OF_ONE = {
    "exponential": _Double.exponential,
    "exponential_minus_one": _Double.minus_one,
    "log": _Double.logarithm,
    "log_plus_one": _Double.of_one_plus,
    "tanh": _Double.hyperbolic_tangent,
    "logistic": _Double.sigmoid,
    "erf": _Double.error_function,
    "rsqrt": _Double.inverse_root,
}


def _of_one(rule: Callable[[_Double, str], str]) -> Emit:
    return lambda lanes, dtype, operands: rule(_Double(lanes), operands[0])


RULES: dict[str, Emit] = {
    **{kind: _of_one(rule) for kind, rule in _OF_ONE.items()},
    "sine": sine,
    "cosine": cosine,
    "tan": tangent,
    "power": power,
    "cbrt": cube_root,
    "atan2": angle,
    "remainder": remainder,
}


def in_double(kind: str) -> Emit:
    """The operation `kind` of `RULES` for f32, computed in f64."""

    def rule(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
        wide = [cast(lanes, "arith.extf", name, "f32", "f64") for name in operands]
        return cast(lanes, "arith.truncf", RULES[kind](lanes, "f64", wide), "f64", "f32")

    return rule
