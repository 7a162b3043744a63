"""The protocol of a cell: what `RNN` asks of a layer or of any object with these members.

call(inputs_t, states_t [, constants=] [, training=]) -> (output_t, states_t_plus_1)
state_size                     an integer, a TensorShape, or a list of these
output_size                    optional; default: the first state's size
build(step_shape)              optional
get_initial_state(inputs=None, batch_size=None, dtype=None)   optional; default: zeros
"""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError

from ._shape import TensorShape, pack_states, read_shape, read_state_size, shapes_of


def check_cell(cell: Any, argument: str = "cell") -> None:
    """Refuse an object that is no cell.

    Raises:
        ArgumentError: (a ValueError) no ``call`` method, or no usable ``state_size``.
    """
    if not callable(getattr(cell, "call", None)):
        raise ArgumentError(
            f"`{argument}` ({type(cell).__name__}) has no `call` method: a cell needs "
            "`call(inputs_t, states_t) -> (output_t, states_t_plus_1)`."
        )
    if getattr(cell, "state_size", None) is None:
        raise ArgumentError(
            f"`{argument}` ({type(cell).__name__}) has no `state_size`: a cell needs an integer, a "
            "TensorShape, or a list of these, one per state."
        )
    read_state_size(cell.state_size)


def state_tree(cell: Any) -> Any:
    """The tree of the cell's state shapes (without batch)."""
    return read_state_size(cell.state_size)


def output_shape(cell: Any) -> TensorShape:
    """The shape of one output (without batch): `output_size`, or the first state's."""
    size = getattr(cell, "output_size", None)
    return shapes_of(state_tree(cell))[0] if size is None else read_shape(size, "cell.output_size")


def initial_states(cell: Any, inputs: Any, batch: Any, dtype: Any) -> list[Any]:
    """The flat initial states of one cell: its own, or zeros.

    ``inputs`` is the whole batch-major input of the layer.
    """
    shapes = shapes_of(state_tree(cell))
    own = getattr(cell, "get_initial_state", None)
    if own is None:
        return [jnp.zeros((batch, *shape), dtype) for shape in shapes]
    states = jax.tree.leaves(own(inputs=inputs, batch_size=batch, dtype=dtype))
    states = [jnp.asarray(state) for state in states]
    check_states(states, state_tree(cell), batch, f"{type(cell).__name__}.get_initial_state")
    return states


def check_states(states: list[Any], tree: Any, batch: Any, argument: str) -> None:
    """Refuse flat states of a wrong number or shape.

    Raises:
        ArgumentError: (a ValueError) naming both.
    """
    shapes = shapes_of(tree)
    if len(states) != len(shapes):
        raise ArgumentError(
            f"`{argument}` has {len(states)} states, but the cell has {len(shapes)}: expected "
            f"shapes {[(batch, *shape) for shape in shapes]}."
        )
    for index, (state, shape) in enumerate(zip(states, shapes, strict=True)):
        if tuple(state.shape) != (batch, *shape):
            raise ArgumentError(
                f"`{argument}`: state {index} has shape {tuple(state.shape)}, which is not "
                f"compatible with cell.state_size: expected {(batch, *shape)}."
            )


def call_cell(cell: Any, inputs: Any, states: list[Any], options: dict[str, Any]) -> Any:
    """One step with flat states: ``(output, flat new states)``."""
    tree = state_tree(cell)
    result = cell.call(inputs, pack_states(states, tree), **options)
    if not isinstance(result, list | tuple) or len(result) != 2:
        raise ArgumentError(
            f"{type(cell).__name__}.call must return a pair (output, states), got "
            f"{type(result).__name__}."
        )
    output, new_states = result
    new_states = [jnp.asarray(state) for state in jax.tree.leaves(new_states)]
    batch = jax.tree.leaves(inputs)[0].shape[0]
    declared = getattr(cell, "output_size", None)
    if declared is not None and hasattr(output, "shape"):
        expected = (batch, *read_shape(declared, "cell.output_size"))
        if tuple(output.shape) != expected:
            raise ArgumentError(
                f"{type(cell).__name__}.call returned an output of shape {tuple(output.shape)}, "
                f"but its `output_size` says {expected}."
            )
    check_states(new_states, tree, batch, f"{type(cell).__name__}.call")
    return output, new_states
