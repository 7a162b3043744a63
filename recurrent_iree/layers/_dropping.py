"""Dropout of one array."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError

from ._random import draw_key


def read_rate(rate: float, argument: str) -> float:
    """A probability below one.

    Raises:
        ArgumentError: (a ValueError) outside ``[0, 1)``.
    """
    if not 0 <= rate < 1:
        raise ArgumentError(f"`{argument}` must be at least 0 and below 1, got {rate}.")
    return float(rate)


def drop(x: Any, rate: float) -> Any:
    """``x`` with elements set to zero with probability ``rate``, the rest scaled up."""
    if rate == 0:
        return x
    kept = jax.random.bernoulli(draw_key(), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)
