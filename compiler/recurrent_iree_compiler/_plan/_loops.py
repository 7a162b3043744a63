"""Loops in StableHLO text, in the forms that IREE runs rightly and in linear time.

A plain loop with stacked outputs copies the whole output at every step (quadratic in time), so
long recurrences are cut into chunks, whose outputs are small. The chunks run in an outer loop
(nested) or one after the other (in a row, for devices on which nested loops are not reliable).
"""

from __future__ import annotations

import math

from ._loop_text import LoopText
from ._recurrence import Recurrence

PLAIN_UP_TO = 64
MOST_LOOPS_IN_A_ROW = 16


def chunk_of_nested(length: int) -> int:
    """The number of steps in a chunk that balances inner against outer copies."""
    return max(32, math.isqrt(length))


def chunk_in_a_row(length: int) -> int:
    """The number of steps in a chunk when the chunks stand one after the other."""
    return max(PLAIN_UP_TO, -(-length // MOST_LOOPS_IN_A_ROW))


def nested_loop(symbol: str, recurrence: Recurrence, chunk: int) -> str:
    """A function that runs the recurrence as a loop over chunks, and the rest as one more loop."""
    text = LoopText(recurrence)
    count, rest = divmod(recurrence.length, chunk)
    xs = text.start(symbol)
    carry, ys = text.chunks(text.init, xs, count, chunk)
    parts = [ys]
    if rest:
        tail = [text.slice(x, count * chunk, rest) for x in xs]
        carry, last = text.steps(carry, tail, rest)
        parts.append(last)
    return text.finish(carry, parts)


def loops_in_a_row(symbol: str, recurrence: Recurrence, chunk: int) -> str:
    """A function that runs the recurrence as one loop for each chunk, one after the other."""
    text = LoopText(recurrence)
    xs = text.start(symbol)
    carry, parts = text.init, []
    for start in range(0, recurrence.length, chunk):
        size = min(chunk, recurrence.length - start)
        carry, ys = text.steps(carry, [text.slice(x, start, size) for x in xs], size)
        parts.append(ys)
    return text.finish(carry, parts)


def single_step(symbol: str, recurrence: Recurrence) -> str:
    """A function that runs a recurrence of one step without a loop."""
    text = LoopText(recurrence)
    now = [text.reshaped(x, *x.shape[1:]) for x in text.start(symbol)]
    carry, out = text.cell(text.init, now)
    return text.finish(carry, [[text.reshaped(y, 1, *y.shape) for y in out]])
