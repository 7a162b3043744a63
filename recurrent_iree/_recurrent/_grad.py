"""`jax.grad` for arguments that also hold integers and bools: these get zeros of their dtype."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp


def value_and_grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Like `jax.value_and_grad`; an integer or bool leaf gets zeros of its own dtype and shape.

    JAX itself stands for such a gradient by an array of the dtype ``float0``, which most code
    cannot use.

    >>> import jax.numpy as jnp
    >>> value_and_grad(lambda p: p["w"] * p["n"])({"w": jnp.float32(2), "n": jnp.int32(3)})[1]
    {'n': Array(0, dtype=int32), 'w': Array(3., dtype=float32)}
    """
    inner = jax.value_and_grad(function, argnums, has_aux, allow_int=True)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        value, gradients = inner(*args, **kwargs)
        chosen = args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)
        return value, jax.tree.map(_usable, gradients, chosen)

    return wrapped


def grad(
    function: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Like `jax.grad`; an integer or bool leaf gets zeros of its own dtype and shape.

    >>> import jax.numpy as jnp
    >>> grad(lambda w, n: w * n, argnums=(0, 1))(jnp.float32(2), jnp.int32(3))
    (Array(3., dtype=float32), Array(0, dtype=int32))
    """
    inner = value_and_grad(function, argnums, has_aux)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradients = inner(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return wrapped


def _usable(gradient: Any, argument: Any) -> Any:
    if gradient.dtype != jax.dtypes.float0:
        return gradient
    return jnp.zeros_like(jnp.asarray(argument))
