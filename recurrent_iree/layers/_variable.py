"""An owned array: a weight or a stored state of a layer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrent_iree_runtime import ArgumentError, StateError

from ._scope import current_scope


class Variable:
    """A named array that a layer owns; its shape and dtype never change.

    Args:
        value: the first value, an array of any shape and dtype.
        name: how messages and `weight_names` call it.
        trainable: whether `trainable_weights` lists it.
        initializer: ``(key, shape, dtype) -> array``, for `Layer.init_weights`.
        regularizer: maps the value to a scalar loss, or None.

    Inside `Layer.stateless_call` the value is the array that the caller passed.

    >>> import numpy as np
    >>> from recurrent_iree.layers import Variable
    >>> kernel = Variable(np.zeros((2, 3), np.float32), name="kernel")
    >>> kernel.assign(np.ones((2, 3)))
    >>> kernel.shape, float(kernel.numpy().sum())
    ((2, 3), 6.0)
    """

    def __init__(
        self,
        value: Any,
        name: str = "variable",
        trainable: bool = True,
        initializer: Callable[..., Any] | None = None,
        regularizer: Callable[[Any], Any] | None = None,
    ):
        self.name = name
        self.trainable = trainable
        self.initializer = initializer
        self.regularizer = regularizer
        self._value = jnp.asarray(value)

    @property
    def value(self) -> jax.Array:
        """The current array."""
        scope = current_scope()
        value = None if scope is None else scope.lookup(self)
        return self._value if value is None else value

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value that this variable owns."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the value that this variable owns."""
        return self._value.dtype

    def assign(self, value: Any) -> None:
        """Replace the value; inside `stateless_call` only the caller's copy changes.

        Raises:
            ArgumentError: (a ValueError) ``value`` has another shape.
            StateError: ``value`` is traced and no `stateless_call` is running.
        """
        value = jnp.asarray(value, self.dtype)
        scope = current_scope()
        if scope is not None and scope.lookup(self) is not None:
            scope.values[id(self)] = value
            return
        if value.shape != self.shape:
            raise ArgumentError(
                f"variable `{self.name}` has shape {self.shape}, got a value of shape "
                f"{value.shape}."
            )
        if isinstance(value, Tracer):
            raise StateError(
                f"variable `{self.name}` would be updated inside a JAX transformation "
                "(jit, grad, vmap), where objects cannot change. Use "
                "`outputs, states = layer.stateless_call(weights, states, inputs)`."
            )
        self._value = value

    def numpy(self) -> np.ndarray:
        """A NumPy copy of the value."""
        return np.array(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype)

    def __jax_array__(self) -> jax.Array:
        return self.value

    def __repr__(self) -> str:
        return f"<Variable {self.name!r} {self.dtype}{list(self.shape)}>"
