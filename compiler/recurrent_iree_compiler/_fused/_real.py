"""Formulas in f64: values with operators, and pairs of values that carry twice the digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._rounding import round_even

if TYPE_CHECKING:
    from ._elementwise import Lanes

# A product with a factor whose lower 27 bits are zero is exact for another such factor.
_HEAD = -1 << 27


@dataclass(frozen=True)
class Real:
    """A named value of f64; tests are names of values of i1."""

    lanes: Lanes
    name: str

    def number(self, value: float) -> Real:
        return Real(self.lanes, self.lanes.constant(value, "f64"))

    def _op(self, name: str, *operands: Real | float) -> Real:
        names = [o.name if isinstance(o, Real) else self.number(o).name for o in operands]
        return Real(self.lanes, self.lanes.op(name, "f64", *names))

    def __add__(self, other: Real | float) -> Real:
        return self._op("arith.addf", self, other)

    def __radd__(self, other: float) -> Real:
        return self._op("arith.addf", other, self)

    def __sub__(self, other: Real | float) -> Real:
        return self._op("arith.subf", self, other)

    def __rsub__(self, other: float) -> Real:
        return self._op("arith.subf", other, self)

    def __mul__(self, other: Real | float) -> Real:
        return self._op("arith.mulf", self, other)

    def __rmul__(self, other: float) -> Real:
        return self._op("arith.mulf", other, self)

    def __truediv__(self, other: Real | float) -> Real:
        return self._op("arith.divf", self, other)

    def __neg__(self) -> Real:
        return self._op("arith.negf", self)

    def __abs__(self) -> Real:
        return self._op("math.absf", self)

    def smallest(self, other: Real | float) -> Real:
        return self._op("arith.minimumf", self, other)

    def largest(self, other: Real | float) -> Real:
        return self._op("arith.maximumf", self, other)

    def signed_as(self, other: Real) -> Real:
        return self._op("math.copysign", self, other)

    def rounded(self) -> Real:
        return Real(self.lanes, round_even(self.lanes, "f64", [self.name]))

    def is_(self, predicate: str, other: Real | float) -> str:
        """The test ``olt``, ``uno`` and so on."""
        other = other if isinstance(other, Real) else self.number(other)
        return self.lanes.compare(predicate, "f64", self.name, other.name)

    def if_(self, test: str, other: Real | float) -> Real:
        """This value where `test` holds, else `other`."""
        other = other if isinstance(other, Real) else self.number(other)
        return Real(self.lanes, self.lanes.select("f64", test, self.name, other.name))

    def bits(self) -> str:
        return cast(self.lanes, "arith.bitcast", self.name, "f64", "i64")

    def head(self) -> Real:
        """The upper half of its digits."""
        kept = self.lanes.op("arith.andi", "i64", self.bits(), self.lanes.constant(_HEAD, "i64"))
        return of_bits(self.lanes, kept)

    def polynomial(self, factors: Sequence[float]) -> Real:
        """By Horner's rule, the factor of the highest power first."""
        total = self.number(factors[0])
        for factor in factors[1:]:
            total = total * self + factor
        return total


Pair = tuple[Real, Real]


def cast(lanes: Lanes, name: str, value: str, a: str, b: str) -> str:
    """A conversion of registers of type `a` to type `b`."""
    return lanes.w.op(f"{name} {value} : {lanes.kind(a)} to {lanes.kind(b)}")


def of_bits(lanes: Lanes, bits: str) -> Real:
    return Real(lanes, cast(lanes, "arith.bitcast", bits, "i64", "f64"))


def of_integer(lanes: Lanes, number: str) -> Real:
    """A small number of i64: the lowest bits of one whose last place is 1. There is no conversion
    of i64 on armv7."""
    bits = lanes.op("arith.addi", "i64", number, lanes.constant(0x4338 << 48, "i64"))
    return of_bits(lanes, bits) - 1.5 * 2.0**52


def sum_of(large: Real, small: Real) -> Pair:
    """The sum and what rounding took from it; `large` is the larger one, or zero."""
    total = large + small
    return total, small - (total - large)


def any_sum_of(a: Real, b: Real) -> Pair:
    """As `sum_of`, whichever is larger."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def product_of(a: Real, b: Real) -> Pair:
    """The product and what rounding took from it."""
    total = a * b
    a_head, b_head = a.head(), b.head()
    a_tail, b_tail = a - a_head, b - b_head
    rest = (a_head * b_head - total) + a_head * b_tail + a_tail * b_head
    return total, rest + a_tail * b_tail


def pair_product(a: Pair, b: Pair) -> Pair:
    total, rest = product_of(a[0], b[0])
    return sum_of(total, rest + (a[0] * b[1] + a[1] * b[0]))


def either(lanes: Lanes, a: str, b: str) -> str:
    return lanes.op("arith.ori", "i1", a, b)


def both(lanes: Lanes, a: str, b: str) -> str:
    return lanes.op("arith.andi", "i1", a, b)


def where_any(
    lanes: Lanes,
    test: str,
    kinds: Sequence[str],
    usual: Sequence[str],
    rare: Callable[[], list[str]],
) -> list[str]:
    """`usual`, but what `rare` writes in the lanes of `test`; it only runs if there are any."""
    w = lanes.w
    found = test
    if lanes.count:
        found = w.op(f"vector.reduction <or>, {test} : {lanes.kind('i1')} into i1")
    types = ", ".join(lanes.kind(k) for k in kinds)
    result = w.fresh()
    w.line(f"{result}:{len(kinds)} = scf.if {found} -> ({types}) {{")
    with w.scope():
        made = rare()
        chosen = [lanes.select(k, test, a, b) for k, a, b in zip(kinds, made, usual, strict=True)]
        w.line(f"scf.yield {', '.join(chosen)} : {types}")
    w.line("} else {")
    w.line(f"  scf.yield {', '.join(usual)} : {types}")
    w.line("}")
    return [f"{result}#{i}" for i in range(len(kinds))]


def repeated(start: Real, count: str, each: int, step: Callable[[Real], Real]) -> Real:
    """`start` after as many steps as the lane with the largest `count` of i64 needs: one, and one
    more for each time that `each` goes into it."""
    lanes, w = start.lanes, start.lanes.w
    if lanes.count:
        count = w.op(f"vector.reduction <maxsi>, {count} : {lanes.kind('i64')} into i64")
    for name, number in (("maxsi", 0), ("divui", each), ("addi", 1)):
        count = w.op(f"arith.{name} {count}, {w.constant(number, 'i64')} : i64")
    times = w.op(f"arith.index_cast {count} : i64 to index")
    result, trip, value = w.fresh(), w.fresh(), w.fresh()
    kind = lanes.kind("f64")
    w.line(
        f"{result} = scf.for {trip} = {w.index(0)} to {times} step {w.index(1)} "
        f"iter_args({value} = {start.name}) -> ({kind}) {{"
    )
    with w.scope():
        w.line(f"scf.yield {step(Real(lanes, value)).name} : {kind}")
    w.line("}")
    return Real(lanes, result)
