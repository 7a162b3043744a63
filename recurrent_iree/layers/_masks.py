"""Masks that travel beside arrays, from `Embedding(mask_zero=True)` to the next layers.

The table holds a mask as long as its array lives; an array that is no output of a layer has none.
"""

import weakref
from typing import Any

import jax
import numpy as np

from recurrent_iree._trees import as_arrays

_table: dict[int, tuple[weakref.ref, Any]] = {}


def set_mask(array: Any, mask: Any) -> None:
    """Remember ``mask`` ``[batch, time]`` as the mask of this very array."""
    key = id(array)
    _table[key] = (weakref.ref(array, lambda _: _table.pop(key, None)), mask)


def get_mask(array: Any) -> Any:
    """The mask of an array, or None."""
    entry = _table.get(id(array))
    return entry[1] if entry is not None and entry[0]() is array else None


def read_masks(masks: Any) -> Any:
    """Given masks: None, an array, or a list of these; numbers in lists make one array."""
    leaves = jax.tree.leaves(masks)
    if isinstance(masks, list | tuple) and any(hasattr(leaf, "shape") for leaf in leaves):
        return masks
    return masks if hasattr(masks, "shape") or not leaves else as_arrays(np.asarray(masks), "mask")


def masks_of(tree: Any) -> Any:
    """The mask of one array, or the list of masks of several, in the order of the leaves."""
    leaves = jax.tree.leaves(tree)
    if isinstance(tree, list | tuple) or len(leaves) != 1:
        return [get_mask(leaf) for leaf in leaves]
    return get_mask(leaves[0])


def set_masks(outputs: Any, masks: Any) -> None:
    """Give every output its mask; ``masks`` is one mask, None, or a list like the outputs."""
    leaves = jax.tree.leaves(outputs)
    listed = masks if isinstance(masks, list | tuple) else [masks] + [None] * (len(leaves) - 1)
    for leaf, mask in zip(leaves, listed, strict=False):
        if mask is not None:
            set_mask(leaf, mask)
