"""The remainder of a division in f64, exact for any quotient.

The divisor is raised by a power of two until the quotient has few bits; then its product with the
upper and the lower half of the divisor is exact, and so is what is left. This is repeated as often
as the largest quotient of all lanes needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._real import Real, both, of_bits, repeated

if TYPE_CHECKING:
    from ._elementwise import Lanes

_BITS = 24
_UP = 2.0**200


def remainder(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    x, y = (Real(lanes, name) for name in operands)
    up, down = abs(x), abs(y)
    plain = both(lanes, up.is_("olt", math.inf), down.is_("olt", math.inf))
    plain = both(lanes, plain, down.is_("oge", 2.0**-1022))
    value = _left(up.if_(plain, 0), down.if_(plain, 1)).signed_as(x)
    same = both(lanes, up.is_("olt", math.inf), down.is_("oeq", math.inf))
    nothing = x.if_(same, x.number(math.nan))
    return value.if_(plain, nothing).name


def _left(x: Real, y: Real) -> Real:
    """Of finite numbers, `x` not below zero, `y` above."""
    lanes, last = x.lanes, _exponent(y)

    def step(r: Real) -> Real:
        over = lanes.op("arith.subi", "i64", _exponent(r), last)
        raised = lanes.op("arith.subi", "i64", over, lanes.constant(_BITS, "i64"))
        raised = lanes.op("arith.maxsi", "i64", raised, lanes.constant(0, "i64"))
        shift = lanes.op("arith.shli", "i64", raised, lanes.constant(52, "i64"))
        divisor = of_bits(lanes, lanes.op("arith.addi", "i64", y.bits(), shift))
        small = divisor.is_("olt", 2.0**-900)  # the lower half would be flushed to zero
        r, divisor = (a.if_(small, b) for a, b in ((r * _UP, r), (divisor * _UP, divisor)))
        quotient = (r / divisor).rounded()
        head = divisor.head()
        rest = (r - quotient * head) - quotient * (divisor - head)
        rest = (rest + divisor).if_(rest.is_("olt", 0), rest)
        return (rest * (1 / _UP)).if_(small, rest)

    over = lanes.op("arith.subi", "i64", _exponent(x), last)
    return repeated(x, over, _BITS, step)


def _exponent(x: Real) -> str:
    return x.lanes.op("arith.shrui", "i64", x.bits(), x.lanes.constant(52, "i64"))
