"""The arguments of one call of a compiled layer: told apart, checked, put where the entry has them.

The messages are those of the layers in `recurrent_iree.layers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._dtypes import dtype_of
from ._errors import ArgumentError
from ._layer_facts import LayerFacts
from ._manifest import Entry, Leaf, Tree
from ._tree import flatten, leaf_paths


@dataclass(frozen=True)
class LayerCall:
    """`inputs` are the leaves of the first argument; states and constants are flat, or None."""

    inputs: list[Any]
    initial_state: list[Any] | None
    constants: list[Any] | None
    mask: Any
    reset: Any


class Places:
    """Which input leaf of the entry is which argument of the layer."""

    def __init__(self, entry: Entry, facts: LayerFacts) -> None:
        body = entry.input_tree["dict"]
        self.entry = entry
        self.first: Tree = body["args"]["tuple"][0] if body["args"]["tuple"] else {"none": True}
        named = dict(zip(facts.parameters, body["args"]["tuple"], strict=False))
        named |= body["kwargs"]["dict"]
        self.leaves = {name: sorted(leaf_paths(tree)) for name, tree in named.items()}
        inputs = self.leaves.get("inputs", [])
        if facts.cell is not None and len(inputs) > 1:  # a list of inputs, states and constants
            states = len(facts.states)
            self.leaves["initial_state"] = inputs[1 : 1 + states]
            self.leaves["constants"] = inputs[1 + states :]
            self.leaves["inputs"] = inputs[:1]

    def has(self, argument: str) -> bool:
        """Whether the entry takes an argument."""
        return bool(self.leaves.get(argument))

    def leaf(self, argument: str, index: int = 0) -> Leaf:
        """A leaf of an argument."""
        return self.entry.inputs[self.leaves[argument][index]]


def read_call(
    name: str, facts: LayerFacts, places: Places, inputs: Any, options: dict[str, Any]
) -> LayerCall:
    """Split a list of inputs, wrap single arrays, and refuse what the layer cannot take."""
    initial_state, constants = options.get("initial_state"), options.get("constants")
    if facts.cell is not None and _is_list_of_arrays(inputs):
        items = list(inputs)
        if len(items) > 1 and (initial_state is not None or constants is not None):
            raise ArgumentError(
                f"layer `{name}` got a list of {len(items)} inputs together with `initial_state` "
                "or `constants`: give them in one way."
            )
        if len(items) > 1:
            count = len(places.leaves.get("constants", []))
            if count and len(items) > count:
                items, constants = items[:-count], items[-count:]
            initial_state = items[1:] or None
        inputs = items[0]
    leaves = [inputs] if facts.cell is not None else flatten(places.first, inputs, "the inputs")
    initial_state, constants = _listed(initial_state), _listed(constants)
    if constants is not None and not facts.takes_constants:
        raise ArgumentError(
            f"`constants` was given, but {facts.cell or facts.class_name}.call takes none: RNN "
            "cell does not support constants. Add a `constants` argument to its `call`."
        )
    if initial_state is not None and len(initial_state) != len(facts.states):
        raise ArgumentError(
            f"`initial_state` has {len(initial_state)} states, but the cell of layer "
            f"`{name}` has {len(facts.states)}."
        )
    return LayerCall(leaves, initial_state, constants, options.get("mask"), options.get("reset"))


def check_inputs(name: str, leaf: Leaf, array: np.ndarray) -> None:
    """Refuse, with `ArgumentError`, a sequence of the wrong rank or with other features."""
    shape = tuple(array.shape)
    if len(shape) < 3:
        raise ArgumentError(
            f"layer `{name}` needs inputs of rank at least 3 (batch, time, …), got shape {shape}."
        )
    features = leaf.shape[2:]
    if len(shape) != len(leaf.shape) or shape[2:] != features:
        raise ArgumentError(
            f"layer `{name}` was built for features {features}, got inputs of shape {shape}."
        )


def check_states(
    states: Sequence[Any], facts: LayerFacts, batch: int, argument: str
) -> list[np.ndarray]:
    """States as arrays of the layer's shapes and dtypes; raises `ArgumentError`."""
    arrays = []
    for index, (value, state) in enumerate(zip(states, facts.states, strict=True)):
        array = as_leaf(value, state.dtype)
        if tuple(array.shape) != (batch, *state.shape):
            raise ArgumentError(
                f"`{argument}`: state {index} has shape {tuple(array.shape)}, which is not "
                f"compatible with cell.state_size: expected {(batch, *state.shape)}."
            )
        arrays.append(array)
    return arrays


def as_leaf(value: Any, dtype: str) -> Any:
    """An array whose floats have the precision of the program, as a layer casts its inputs."""
    array = np.asarray(value)
    wanted = dtype_of(dtype)
    if array.dtype.kind == "f" and (wanted.kind == "f" or dtype in ("bfloat16", "float16")):
        return array.astype(wanted, copy=False)
    return value if isinstance(value, np.ma.MaskedArray) else array


def _is_list_of_arrays(inputs: Any) -> bool:
    return isinstance(inputs, (list, tuple)) and any(hasattr(item, "shape") for item in inputs)


def _listed(value: Any) -> list[Any] | None:
    """The arrays of a nest, flat."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)) and not _is_numbers(value):
        return [leaf for item in value if item is not None for leaf in _listed(item) or []]
    return [value]


def _is_numbers(value: Any) -> bool:
    """Whether a list is an array written out."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (bool, int, float))
