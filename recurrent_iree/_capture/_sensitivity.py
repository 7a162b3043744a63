"""How far right evaluations of a program may be apart: what last bits of its inputs do to it.

Two right evaluations differ in rounding. Most programs keep such differences small; a recurrence
may let them grow from step to step, and then no fixed tolerance is fair to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LAST_BITS = 8.0  # units in the last place: what sums in another order are apart
_MARGIN = 2.0
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
    rng = np.random.default_rng(0)
    moved = call(jax.tree.map(_larger, weights), [_nudged(value, rng) for value in inputs])
    needs = [_excess(a, b, rtol) for a, b in zip(outputs, moved, strict=True)]
    return max([atol, *needs])


def _excess(expected: np.ndarray, moved: Any, rtol: float) -> float:
    """By how much `moved` is further from `expected` than `rtol` allows."""
    if not _is_real(expected) or expected.size == 0:
        return 0.0
    a, b = expected.astype(np.float64), np.asarray(moved).astype(np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    if not known.any():
        return 0.0
    a, b = a[known], b[known]
    change = float(np.max(_MARGIN * np.abs(a - b) - rtol * np.abs(a)))
    return min(change, _MOST * float(np.abs(a).max()))


def _larger(value: Any) -> Any:
    return value * (1 + _few(value.dtype)) if _is_real(value) else value


def _nudged(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if not _is_real(value):
        return value
    signs = rng.choice([-1.0, 1.0], value.shape)
    return (value.astype(np.float64) * (1 + signs * _few(value.dtype))).astype(value.dtype)


def _is_real(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, np.floating))


def _few(dtype: Any) -> Any:
    return _LAST_BITS * float(jnp.finfo(dtype).eps)
