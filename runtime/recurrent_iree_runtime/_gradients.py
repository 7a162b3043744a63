"""The arguments of the entry `gradients`: the inputs, and a cotangent for each output."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._dtypes import dtype_of
from ._entry_plan import EntryPlan
from ._errors import SignatureError
from ._manifest import Leaf
from ._tree import leaf_paths, unflatten

GRADIENTS = "gradients"
COTANGENTS = "cotangents"


def gradient_values(
    plan: EntryPlan, args: Sequence[Any], kwargs: Mapping[str, Any], cotangents: Any
) -> list[Any]:
    """One value per input leaf; raises `SignatureError` for what does not fit."""
    tree = plan.entry.input_tree["dict"]["kwargs"]["dict"][COTANGENTS]
    leaves = {i: plan.entry.inputs[i] for i in leaf_paths(tree)}
    if cotangents is None:
        cotangents = _of_one_number(plan, tree, leaves)
    values = list(plan.values(args, {**kwargs, COTANGENTS: cotangents}))
    missing = [i for i in leaves if values[i] is None]
    if missing:
        sizes = _sizes(plan, values)
        for i in missing:
            shape = [n if isinstance(n, int) else sizes[n] for n in leaves[i].shape]
            values[i] = np.zeros(shape, dtype_of(leaves[i].dtype))
    return values


def _of_one_number(plan: EntryPlan, tree: dict[str, Any], leaves: Mapping[int, Leaf]) -> Any:
    if [leaf.shape for leaf in leaves.values()] != [()]:
        raise SignatureError(
            f"{plan.name!r} needs {COTANGENTS}=, one array for each output of floats; it may be "
            f"left out only if the program returns one number; {plan.usage()}"
        )
    (leaf,) = leaves.values()
    return unflatten(tree, {i: np.ones((), dtype_of(leaf.dtype)) for i in leaves})  # pyright: ignore


def _sizes(plan: EntryPlan, values: Sequence[Any]) -> dict[str, int]:
    """The size of each named dim, as far as the given arrays have it."""
    sizes: dict[str, int] = {}
    for leaf, value in zip(plan.entry.inputs, values, strict=True):
        if value is not None:
            sizes.update(dict(zip(leaf.shape, np.shape(value), strict=False)))  # pyright: ignore
    return sizes
