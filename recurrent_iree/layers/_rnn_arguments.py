"""The arguments of one call of `RNN`: inputs, initial states and constants, told apart."""

from dataclasses import dataclass
from typing import Any

import jax

from recurrent_iree_runtime import ArgumentError

from ._base import accepts
from ._cells import state_tree
from ._node import SymbolicTensor
from ._shape import shapes_of


@dataclass(frozen=True)
class CallArguments:
    """`initial_state` and `constants` are flat lists, or None."""

    inputs: Any
    initial_state: list[Any] | None
    constants: list[Any] | None


def read_call(layer: Any, inputs: Any, initial_state: Any, constants: Any) -> CallArguments:
    """Split a list of inputs, wrap single arrays, and refuse what the cell cannot take."""
    if isinstance(inputs, list) and any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(inputs)):
        inputs, initial_state, constants = _split(layer, list(inputs), initial_state, constants)
    initial_state = _listed(initial_state)
    constants = _listed(constants)
    if constants is not None:
        _check_constants(layer.cell)
        layer._num_constants = len(constants)
    count = len(shapes_of(state_tree(layer.cell)))
    if initial_state is not None and len(initial_state) != count:
        raise ArgumentError(
            f"`initial_state` has {len(initial_state)} states, but the cell of layer "
            f"`{layer.name}` has {count}."
        )
    _check_mixture(layer.name, inputs, initial_state, constants)
    _check_unroll(layer, inputs)
    return CallArguments(inputs, initial_state, constants)


def _split(layer: Any, items: list[Any], initial_state: Any, constants: Any) -> tuple[Any, ...]:
    if len(items) > 1 and (initial_state is not None or constants is not None):
        raise ArgumentError(
            f"layer `{layer.name}` got a list of {len(items)} inputs together with `initial_state` "
            "or `constants`: give them in one way."
        )
    if layer._num_constants and len(items) > layer._num_constants:
        constants = items[-layer._num_constants :]
        items = items[: -layer._num_constants]
    return items[0], (items[1:] or None) if len(items) > 1 else initial_state, constants


def _listed(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return jax.tree.leaves(value, is_leaf=lambda leaf: isinstance(leaf, SymbolicTensor))


def _check_constants(cell: Any) -> None:
    takes = getattr(cell, "takes_constants", None)
    if not (accepts(cell.call, "constants") if takes is None else takes):
        raise ArgumentError(
            f"`constants` was given, but {type(cell).__name__}.call takes none: RNN cell does not "
            "support constants. Add a `constants` argument to its `call`."
        )


def _check_mixture(name: str, inputs: Any, initial_state: Any, constants: Any) -> None:
    leaves = [*jax.tree.leaves(inputs), *(initial_state or []), *(constants or [])]
    symbolic = [isinstance(leaf, SymbolicTensor) for leaf in leaves]
    if any(symbolic) and not all(symbolic):
        raise ArgumentError(
            f"layer `{name}` got symbolic tensors and arrays together: inputs, `initial_state` and "
            "`constants` must be of one kind."
        )


def _check_unroll(layer: Any, inputs: Any) -> None:
    for leaf in jax.tree.leaves(inputs) if layer.unroll is True else []:
        shape = leaf.shape if isinstance(leaf, SymbolicTensor) else ()
        if len(shape) > 1 and shape[0 if layer.time_major else 1] is None:
            raise ArgumentError(
                f"layer `{layer.name}`: unrolling requires a fixed number of timesteps, but the "
                f"time dimension of the input {shape} is unknown. Use unroll=False, or give the "
                "time dimension to `Input`."
            )
