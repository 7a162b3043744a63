"""Regularizers by name: functions of one array to a scalar loss."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._registry import from_config, register

Regularizer = Callable[[Any], Any]


@register
class L1L2:
    """`l1 * sum(abs(x)) + l2 * sum(x * x)`.

    >>> import numpy as np
    >>> from recurrent_iree.layers import L1L2
    >>> float(L1L2(l1=1.0, l2=0.5)(np.array([1.0, -2.0])))
    5.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        if l1 < 0 or l2 < 0:
            raise ArgumentError(f"`l1` and `l2` must not be negative, got {l1} and {l2}.")
        self.l1 = float(l1)
        self.l2 = float(l2)

    def __call__(self, x: Any) -> Any:
        x = jnp.asarray(x)
        loss = jnp.zeros((), jnp.result_type(x.dtype, jnp.float32))
        if self.l1:
            loss = loss + self.l1 * jnp.sum(jnp.abs(x))
        if self.l2:
            loss = loss + self.l2 * jnp.sum(jnp.square(x))
        return loss

    def get_config(self) -> dict[str, float]:
        """`{"l1", "l2"}`."""
        return {"l1": self.l1, "l2": self.l2}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, L1L2) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((self.l1, self.l2))


def l1(factor: float = 0.01) -> L1L2:
    """`factor * sum(abs(x))`."""
    return L1L2(l1=factor)


def l2(factor: float = 0.01) -> L1L2:
    """`factor * sum(x * x)`."""
    return L1L2(l2=factor)


def get_regularizer(identifier: Any) -> Regularizer | None:
    """The regularizer of "l1", "l2", "l1_l2" or a configuration; a function as it is, or None.

    Raises:
        ArgumentError: (a ValueError) unknown name.
        ArgumentTypeError: (a TypeError) neither a name, a configuration nor a function.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        names = {"l1": l1(), "l2": l2(), "l1_l2": L1L2(0.01, 0.01)}
        if identifier not in names:
            raise ArgumentError(
                f"unknown regularizer {identifier!r}: expected one of {', '.join(names)}, or a "
                "function of one array."
            )
        return names[identifier]
    if isinstance(identifier, Mapping):
        return from_config(identifier)
    if not callable(identifier):
        raise ArgumentTypeError(
            f"a regularizer must be a name or a function, got {type(identifier).__name__}."
        )
    return identifier
