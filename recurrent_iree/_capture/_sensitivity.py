"""How far right evaluations of a program may be apart: what last bits of its inputs do to it.

Two right evaluations differ in rounding. Most programs keep such differences small; a recurrence
may let them grow from step to step, and then no fixed tolerance is fair to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LAST_BITS = 8.0  # units in the last place: what sums in another order are apart
_MARGIN = 2.0
_PART = 1 << 14  # numbers compared at once
_MOST = 1e-2  # of the largest number: beyond that golden calls would accept anything


def fair_atol(
    call: Callable[..., Sequence[Any]],
    weights: Any,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    tolerance: tuple[float, float],
) -> float:
    """An absolute tolerance that allows what a change of last bits does to `outputs`.

    Args:
        call: the program, a function of weights and inputs.
        weights: its weights; all are made larger by a few last bits.
        inputs: its inputs; each number is made a few last bits larger or smaller.
        outputs: what `call` gives for them.
        tolerance: the relative and the absolute one that a well-behaved program gets.
    """
    rtol, atol = tolerance
    moved = _moved(call, weights, inputs)
    needs = [_excess(a, b, rtol) for a, b in zip(outputs, moved, strict=True)]
    return max([atol, *needs])


def forgets_rounding(
    call: Callable[..., Sequence[Any]],
    weights: Any,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    time_axes: Sequence[int | None],
    steps: int,
    tolerance: tuple[float, float],
) -> bool:
    """Whether `steps` steps would keep `tolerance`, judged by the fewer steps of `inputs`.

    The change of the second half of them, growing for each further half as it has grown from the
    first half to the second, must stay within the tolerance at the end. Where that is not so, or an
    output has no axis of time (``None`` in `time_axes`), all steps have to tell.
    """
    axes = [axis for axis in time_axes if axis is not None]
    if len(axes) < len(time_axes):
        return False
    for axis, a, b in zip(axes, outputs, _moved(call, weights, inputs), strict=True):
        half = a.shape[axis] // 2
        pairs = zip(_halves(a, axis), _halves(b, axis), strict=True)
        first, second = (_share(x, y, tolerance) for x, y in pairs)
        if second and (not first or _log_at_end(first, second, steps / half - 2) > 0.0):
            return False
    return True


def _log_at_end(first: float, second: float, times: float) -> float:
    """The logarithm of what `second` grows to; the number itself may be too large for a float."""
    growth = math.log(second) - math.log(first)
    return math.log(second) + times * max(0.0, growth)


def _halves(value: Any, axis: int) -> list[np.ndarray]:
    value, half = np.asarray(value), value.shape[axis] // 2
    return [np.take(value, range(at, at + half), axis) for at in (0, half)]


def _moved(
    call: Callable[..., Sequence[Any]], weights: Any, inputs: Sequence[np.ndarray]
) -> Sequence[Any]:
    rng = np.random.default_rng(0)
    return call(jax.tree.map(_larger, weights), [_nudged(value, rng) for value in inputs])


def _share(expected: np.ndarray, moved: np.ndarray, tolerance: tuple[float, float]) -> float:
    """How much of `tolerance` the distance of `moved` is."""
    if not _is_real(expected):
        return 0.0
    a, b = expected.astype(np.float64), moved.astype(np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    rtol, atol = tolerance
    return float(np.max(_MARGIN * np.abs(a - b) / (atol + rtol * np.abs(a)), initial=0.0))


def _excess(expected: np.ndarray, moved: Any, rtol: float) -> float:
    """By how much `moved` is further from `expected` than `rtol` allows."""
    if not _is_real(expected) or expected.size == 0:
        return 0.0
    flat = expected.reshape(-1), np.asarray(moved).reshape(-1)
    parts = [[v[at : at + _PART] for v in flat] for at in range(0, expected.size, _PART)]
    changes, sizes = zip(*(_change(a, b, rtol) for a, b in parts), strict=True)
    return min(max(changes), _MOST * max(sizes))


def _change(expected: np.ndarray, moved: np.ndarray, rtol: float) -> tuple[float, float]:
    """The largest excess of a part, and the largest of its numbers."""
    a, b = expected.astype(np.float64), moved.astype(np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    if not known.all():
        a, b = a[known], b[known]
    size = np.abs(a)
    excess = np.max(_MARGIN * np.abs(a - b) - rtol * size, initial=-np.inf)
    return float(excess), float(np.max(size, initial=0.0))


def _larger(value: Any) -> Any:
    return value * (1 + _few(value.dtype)) if _is_real(value) else value


def _nudged(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if not _is_real(value):
        return value
    bits = np.frombuffer(rng.bytes(-(-value.size // 8)), np.uint8)
    larger = np.unpackbits(bits, count=value.size).reshape(value.shape)
    few = _few(value.dtype)
    return value * np.array([1 - few, 1 + few]).astype(value.dtype)[larger]


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, np.floating))


def _few(dtype: Any) -> Any:
    return _LAST_BITS * float(jnp.finfo(dtype).eps)
