"""Pytree structures as JSON, in the form that the runtime reads."""

from __future__ import annotations

from typing import Any

import jax

from recurrent_iree_runtime import UnsupportedError


def tree_json(structure: Any) -> dict[str, Any]:
    """The JSON of a JAX pytree structure, leaves numbered in order."""
    leaves = iter(range(structure.num_leaves))
    return _encode(jax.tree.unflatten(structure, [_Leaf(i) for i in leaves]))


class _Leaf:
    def __init__(self, index: int) -> None:
        self.index = index


def _encode(node: Any) -> dict[str, Any]:
    if isinstance(node, _Leaf):
        return {"leaf": node.index}
    if node is None:
        return {"none": True}
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return {
            "namedtuple": {
                "name": type(node).__name__,
                "fields": list(node._fields),  # pyright: ignore[reportAttributeAccessIssue]
                "items": [_encode(item) for item in node],
            }
        }
    if isinstance(node, tuple):
        return {"tuple": [_encode(item) for item in node]}
    if isinstance(node, list):
        return {"list": [_encode(item) for item in node]}
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {"dict": {key: _encode(item) for key, item in node.items()}}
    raise UnsupportedError(
        f"compile: a {type(node).__name__} is part of the arguments or results; "
        "use dicts with string keys, lists, tuples, namedtuples, arrays and None"
    )
