"""Shapes of states and tensors, without the batch dimension or with unknown sizes."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


class TensorShape(tuple):
    """A shape as a `state_size` or `output_size` of rank other than one.

    A plain tuple as `state_size` means several states; ``TensorShape([3, 2])`` is one state of
    shape ``[batch, 3, 2]``.

    >>> from recurrent_iree.layers import TensorShape
    >>> TensorShape([3, 2]).as_list()
    [3, 2]
    """

    def as_list(self) -> list[int | None]:
        """The sizes as a list; None where unknown."""
        return list(self)

    def __repr__(self) -> str:
        return f"TensorShape({list(self)})"


def read_shape(size: Any, argument: str) -> TensorShape:
    """One size: an integer, a tuple of integers or a shape object."""
    if hasattr(size, "as_list"):
        size = size.as_list()
    sizes = size if isinstance(size, tuple | list) else (size,)
    return TensorShape(
        None if item is None and isinstance(size, tuple | list) else _size(item, size, argument)
        for item in sizes
    )


def read_dtype(dtype: Any) -> str:
    """The name of a dtype."""
    try:
        return jnp.dtype(dtype).name
    except TypeError as error:
        raise ArgumentTypeError(f"`dtype` must name a dtype such as float32: {error}.") from error


def read_sizes(shape: Any, owner: str) -> tuple[int | None, ...]:
    """The shape of an input: integers, or None where unknown."""
    for size in tuple(shape):
        if size is not None and (isinstance(size, bool) or not hasattr(size, "__index__")):
            raise ArgumentTypeError(
                f"the input shape of {owner} must hold integers and None, got {shape!r}."
            )
        if size is not None and int(size) < 0:
            raise ArgumentError(
                f"the input shape of {owner} must not be negative, got {tuple(shape)}."
            )
    return tuple(None if size is None else int(size) for size in shape)


def is_shape(value: Any) -> bool:
    """Whether this is one shape, and not a tree of shapes."""
    if hasattr(value, "as_list"):
        return True
    return isinstance(value, list | tuple) and all(
        size is None or hasattr(size, "__index__") for size in value
    )


def map_shapes(function: Callable[[tuple[int | None, ...]], Any], shapes: Any) -> Any:
    """``function`` of one shape, or of every shape in a tree of them."""
    return jax.tree.map(lambda shape: function(tuple(shape)), shapes, is_leaf=is_shape)


def first_shape(shapes: Any) -> tuple[int | None, ...]:
    """The first shape of a tree of shapes."""
    return tuple(jax.tree.leaves(shapes, is_leaf=is_shape)[0])


def shapes_of_inputs(shapes: Any) -> Any:
    """The shapes of the inputs alone, from those of ``[inputs, *states, *constants]`` too."""
    if isinstance(shapes, list) and not is_shape(shapes):
        shapes = shapes[0]
    return map_shapes(tuple, shapes)


def read_state_size(state_size: Any) -> Any:
    """The tree of state shapes of a cell; leaves are `TensorShape`s.

    One size is a list of one. In a list or tuple every entry is one state, and a tuple inside is
    a shape; lists and dicts inside are nested states.
    """
    if isinstance(state_size, dict) or _is_namedtuple(state_size):
        return _entry(state_size)
    if isinstance(state_size, list | tuple) and not hasattr(state_size, "as_list"):
        return [_entry(item) for item in state_size]
    return [read_shape(state_size, "cell.state_size")]


def shapes_of(tree: Any) -> list[TensorShape]:
    """The shapes of a tree of state shapes, flat."""
    return jax.tree.leaves(tree, is_leaf=lambda item: isinstance(item, TensorShape))


def pack_states(leaves: Iterable[Any], like: Any) -> Any:
    """Flat states in the containers of a tree of state shapes."""
    treedef = jax.tree.structure(like, is_leaf=lambda item: isinstance(item, TensorShape))
    return jax.tree.unflatten(treedef, list(leaves))


def _entry(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _entry(value) for key, value in item.items()}
    if _is_namedtuple(item):
        return type(item)(*(_entry(value) for value in item))
    if isinstance(item, list):
        return [_entry(value) for value in item]
    return read_shape(item, "cell.state_size")


def _size(item: Any, size: Any, argument: str) -> int:
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise ArgumentTypeError(
            f"`{argument}` must be an integer, a TensorShape, or a list of these; got {size!r}."
        )
    if int(item) < 0:
        raise ArgumentError(f"`{argument}` must not be negative, got {size!r}.")
    return int(item)


def _is_namedtuple(item: Any) -> bool:
    return isinstance(item, tuple) and hasattr(item, "_fields")
