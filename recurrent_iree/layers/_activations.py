"""Activation functions by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

Activation = Callable[[Any], Any]


def linear(x: Any) -> Any:
    """`x` itself."""
    return x


def hard_sigmoid(x: Any) -> Any:
    """`clip(0.2 * x + 0.5, 0, 1)`, the gate of the first Keras releases."""
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def exponential(x: Any) -> Any:
    """`exp(x)`."""
    return jnp.exp(x)


ACTIVATIONS: dict[str, Activation] = {
    "linear": linear,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exponential": exponential,
}


def get_activation(identifier: str | Activation | None) -> Activation:
    """The activation of a name, a function as it is, or `linear` for None.

    Raises:
        ArgumentError: (a ValueError) unknown name.
        ArgumentTypeError: (a TypeError) neither a name nor a function.

    >>> from recurrent_iree.layers import get_activation
    >>> float(get_activation("hard_sigmoid")(1.0))
    0.699999988079071
    """
    if identifier is None:
        return linear
    if isinstance(identifier, str):
        if identifier not in ACTIVATIONS:
            raise ArgumentError(
                f"unknown activation {identifier!r}: expected one of {', '.join(ACTIVATIONS)}, "
                "or a function of one array."
            )
        return ACTIVATIONS[identifier]
    if not callable(identifier):
        raise ArgumentTypeError(
            f"an activation must be a name or a function, got {type(identifier).__name__}."
        )
    return identifier


def activation_config(activation: Activation) -> Any:
    """The name of a known activation, else the function itself."""
    for name, function in ACTIVATIONS.items():
        if function is activation:
            return name
    return activation
