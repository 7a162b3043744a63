"""`TensorArray`: rows of one shape, written one by one, as a pytree."""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_pytree_node_class

from recurrent_iree._trees import show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


@register_pytree_node_class
class TensorArray:
    """Rows of one shape and dtype. Immutable: `write` and `unstack` return a new one.

    Args:
        dtype: of every row.
        size: number of rows.
        dynamic_size: whether writing past the end adds rows. Inside a traced loop the rows must
            be there already: `raw_rnn` provides one for every ``time`` of its loop, elsewhere
            call `reserve` first.
        element_shape: shape of a row; the first row decides if not given.

    >>> array = TensorArray("float32", dynamic_size=True).write(1, [1.0, 2.0])
    >>> array.stack().tolist(), int(array.size())
    ([[0.0, 0.0], [1.0, 2.0]], 2)
    """

    def __init__(
        self,
        dtype: Any,
        size: int = 0,
        dynamic_size: bool = False,
        *,
        element_shape: tuple[int, ...] | None = None,
    ):
        if not isinstance(size, int) or isinstance(size, bool):
            raise ArgumentTypeError(f"`size` must be an int, got {type(size).__name__}.")
        if size < 0:
            raise ArgumentError(f"`size` must be at least 0, got {size}.")
        self._dtype = jax.dtypes.canonicalize_dtype(dtype)
        self._declared, self._dynamic = size, bool(dynamic_size)
        self._size: Any = jnp.int32(size)
        self._rows: Any = None
        if element_shape is not None:
            self._rows = jnp.zeros((size, *element_shape), self._dtype)

    @classmethod
    def from_rows(cls, rows: jax.Array, size: Any = None) -> "TensorArray":
        """The array of ``rows[0] … rows[size - 1]``; rows from ``size`` on are spare room."""
        array = cls(rows.dtype)
        array._rows = rows
        array._size = jnp.int32(rows.shape[0]) if size is None else size
        array._dynamic, array._declared = size is not None, 0 if size is not None else len(rows)
        return array

    @property
    def dtype(self) -> Any:
        """The dtype of every row."""
        return self._dtype

    @property
    def element_shape(self) -> tuple[int, ...] | None:
        """The shape of a row, or None before it is known."""
        return None if self._rows is None else tuple(self._rows.shape[1:])

    @property
    def dynamic_size(self) -> bool:
        """Whether writing past the end adds rows."""
        return self._dynamic

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return self._declared if self._rows is None else self._rows.shape[0]

    def size(self) -> jax.Array:
        """The number of rows, an int32 scalar."""
        return self._size

    def write(self, index: Any, value: Any) -> "TensorArray":
        """A copy with row ``index`` replaced; rows skipped on the way are zeros."""
        value, at = jnp.asarray(value, self._dtype), known_int(index)
        if self.element_shape not in (None, value.shape):
            raise ArgumentError(
                f"`value` is {show_leaf(value)}, but the rows of this TensorArray have the shape "
                f"{self.element_shape}."
            )
        if at is not None:
            self._check_index(at, None if self._dynamic else self.capacity)
        needed = max(self.capacity, 1 if at is None else at + 1)
        array = self._with_room(needed, value.shape)
        array._rows = array._rows.at[index].set(value, mode="drop")
        if self._dynamic:
            array._size = jnp.maximum(array._size, jnp.asarray(index, jnp.int32) + 1)
        return array

    def read(self, index: Any) -> jax.Array:
        """Row ``index``. While it is traced, an index outside is moved to the nearest row."""
        rows, at = self._known_rows(), known_int(index)
        if at is not None:
            self._check_index(at, known_int(self._size))
        return jax.lax.dynamic_index_in_dim(rows, jnp.asarray(index), keepdims=False)

    def gather(self, indices: Any) -> jax.Array:
        """The rows ``indices``, stacked."""
        return jnp.stack([self.read(index) for index in jnp.asarray(indices)])

    def stack(self) -> jax.Array:
        """All rows ``[size, …]``.

        Where the size is known only as data, in a traced function, these are all ``capacity``
        rows, zeros from ``size()`` on.
        """
        rows, size = self._known_rows(), known_int(self._size)
        return rows if size is None else rows[:size]

    def all_rows(self) -> jax.Array:
        """All ``capacity`` rows, zeros from ``size()`` on."""
        return self._known_rows()

    def concat(self) -> jax.Array:
        """The rows joined along their first dimension."""
        rows = self.stack()
        if rows.ndim < 2:
            raise ArgumentError("the rows of this TensorArray are scalars: use stack() instead.")
        return rows.reshape(-1, *rows.shape[2:])

    def unstack(self, values: Any) -> "TensorArray":
        """A copy that holds the rows of ``values`` and nothing else."""
        values = jnp.asarray(values, self._dtype)
        if values.ndim == 0:
            raise ArgumentError("`values` is a scalar, expected an array [rows, …].")
        if not self._dynamic and self._declared not in (0, values.shape[0]):
            raise ArgumentError(
                f"`values` holds {values.shape[0]} rows, but this TensorArray has size "
                f"{self._declared}: use dynamic_size=True, or that size."
            )
        array = self._copy()
        array._rows, array._size = values, jnp.int32(values.shape[0])
        return array

    def reserve(self, capacity: int, element_shape: tuple[int, ...] | None = None) -> "TensorArray":
        """A copy with room for at least ``capacity`` rows; its size stays."""
        shape = self.element_shape if element_shape is None else tuple(element_shape)
        if shape is None:
            raise ArgumentError("`element_shape` is not known yet: give it, or write a row first.")
        return self._with_room(max(capacity, self.capacity), shape)

    def _with_room(self, capacity: int, shape: tuple[int, ...]) -> "TensorArray":
        array = self._copy()
        if self._rows is None:
            array._rows = jnp.zeros((capacity, *shape), self._dtype)
        elif capacity > self.capacity:
            more = jnp.zeros((capacity - self.capacity, *shape), self._dtype)
            array._rows = jnp.concatenate([self._rows, more])
        return array

    def _copy(self) -> "TensorArray":
        return self.tree_unflatten(self.tree_flatten()[1], (self._rows, self._size))

    def _known_rows(self) -> jax.Array:
        if self._rows is None:
            raise ArgumentError("this TensorArray holds no row yet: write one first.")
        return self._rows

    def _check_index(self, index: int, size: int | None) -> None:
        if index < 0 or (size is not None and index >= size):
            raise ArgumentError(
                f"`index` is {index}, but this TensorArray holds {size} rows: expected "
                f"0 to {(size or 0) - 1}."
                if size is not None
                else f"`index` is {index}, expected 0 or more."
            )

    def tree_flatten(self) -> tuple[tuple[Any, Any], Hashable]:
        """For JAX: the rows and the size are data."""
        return (self._rows, self._size), (self._dtype, self._declared, self._dynamic)

    @classmethod
    def tree_unflatten(cls, kind: Any, children: Any) -> "TensorArray":
        """For JAX."""
        array = object.__new__(cls)
        array._dtype, array._declared, array._dynamic = kind
        array._rows, array._size = children
        return array

    def __repr__(self) -> str:
        return f"TensorArray({self._dtype.name}, element_shape={self.element_shape})"


def known_int(value: Any) -> int | None:
    """The value as an int, or None while it is being traced."""
    try:
        return int(value)
    except jax.errors.ConcretizationTypeError:
        return None
