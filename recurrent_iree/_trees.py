"""Pytrees of arrays as arguments: conversion, comparison, and how error messages show them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

Tree = Any


def show_leaf(leaf: Any) -> str:
    """One leaf as ``float32[2, 3]``."""
    return f"{jnp.dtype(leaf.dtype).name if _plain_dtype(leaf) else leaf.dtype}{list(leaf.shape)}"


def show(tree: Tree) -> str:
    """A tree with every leaf replaced by its dtype and shape, on one line."""
    return str(jax.tree.map(lambda leaf: _Text(show_leaf(leaf)), tree))


def as_arrays(tree: Tree, argument: str) -> Tree:
    """Every leaf as a JAX array of a definite dtype; ``argument`` names the tree in errors."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _as_array(leaf, argument + jax.tree_util.keystr(path)), tree
    )


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None while it is being traced."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def same_containers(left: Tree, right: Tree) -> bool:
    """Whether two trees have the same structure, a list and a tuple being equal."""
    return jax.tree.structure(_as_tuples(left)) == jax.tree.structure(_as_tuples(right))


def repack(tree: Tree, like: Tree) -> Tree:
    """The leaves of ``tree`` in the containers of ``like``."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(tree))


def check_like(got: Tree, want: Tree, what: str, expected: str) -> None:
    """Refuse a tree whose structure, shapes or dtypes are not those of ``want``.

    ``what`` says what was given ("`step_function` returned new_states") and ``expected`` what it
    is compared with ("initial_states").
    """
    if not same_containers(got, want):
        raise ArgumentError(
            f"{what} with another structure than {expected}: got {show(got)}, expected "
            f"{show(want)}. Return the same containers with the same keys."
        )
    paths = jax.tree_util.tree_flatten_with_path(want)[0]
    for leaf, (path, reference) in zip(jax.tree.leaves(got), paths, strict=True):
        if leaf.shape != reference.shape or leaf.dtype != reference.dtype:
            raise ArgumentError(
                f"{what} with another shape or dtype than {expected}: leaf "
                f"{jax.tree_util.keystr(path) or 'itself'} is {show_leaf(leaf)}, expected "
                f"{show_leaf(reference)}."
            )


def abstract(function: Callable[..., Any], *arguments: Any) -> Tree:
    """The shapes and dtypes of what ``function`` returns, without computing anything."""
    return jax.eval_shape(function, *arguments)


def select_rows(rows: jax.Array, when_true: Tree, when_false: Tree) -> Tree:
    """Row by row of dimension 0: leaves of ``when_true`` where ``rows``, else ``when_false``."""

    def select(yes: jax.Array, no: jax.Array) -> jax.Array:
        return jnp.where(rows.reshape(rows.shape + (1,) * (yes.ndim - rows.ndim)), yes, no)

    return jax.tree.map(select, when_true, when_false)


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _plain_dtype(leaf: Any) -> bool:
    return not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _as_array(leaf: Any, name: str) -> jax.Array:
    try:
        array = jnp.asarray(leaf)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"`{name}` is not an array: got {type(leaf).__name__}, expected numbers of one dtype."
        ) from error
    return jnp.asarray(array, array.dtype) if _plain_dtype(array) else array


def _as_tuples(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {key: _as_tuples(value) for key, value in tree.items()}
    if isinstance(tree, list) or type(tree) is tuple:
        return tuple(_as_tuples(value) for value in tree)
    return tree
