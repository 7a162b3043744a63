"""Masks that travel beside arrays, from `Embedding(mask_zero=True)` to the next layers.

The table holds a mask as long as its array lives; an array that is no output of a layer has none.
"""

import weakref
from typing import Any

import jax

_table: dict[int, tuple[weakref.ref, Any]] = {}


def set_mask(array: Any, mask: Any) -> None:
    """Remember ``mask`` ``[batch, time]`` as the mask of this very array."""
    key = id(array)
    _table[key] = (weakref.ref(array, lambda _: _table.pop(key, None)), mask)


def get_mask(array: Any) -> Any:
    """The mask of an array, or None."""
    entry = _table.get(id(array))
    return entry[1] if entry is not None and entry[0]() is array else None


def masks_of(tree: Any) -> Any:
    """The mask of one array, or the list of masks of several."""
    if isinstance(tree, list | tuple):
        return [get_mask(leaf) for leaf in tree]
    leaves = jax.tree.leaves(tree)
    return get_mask(leaves[0]) if len(leaves) == 1 else None


def set_masks(outputs: Any, masks: Any) -> None:
    """Give every output its mask; ``masks`` is one mask, None, or a list like the outputs."""
    leaves = jax.tree.leaves(outputs)
    listed = masks if isinstance(masks, list | tuple) else [masks] + [None] * (len(leaves) - 1)
    for leaf, mask in zip(leaves, listed, strict=False):
        if mask is not None:
            set_mask(leaf, mask)
