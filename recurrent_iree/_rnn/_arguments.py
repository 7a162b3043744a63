"""The arguments of `rnn`, checked and brought to time-major order."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree._trees import Tree, as_arrays, check_like, concrete, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

MASKED_OUTPUTS = ("previous", "first_state")


@dataclass(frozen=True)
class Sequence:
    """Time-major inputs (in processing order) with what every step needs to know."""

    inputs: Tree
    mask: jax.Array | None
    reset: jax.Array | None
    time: Any
    batch: Any


def read_sequence(
    inputs: Tree,
    mask: Any,
    reset: Any,
    input_length: Any,
    *,
    time_major: bool,
    go_backwards: bool,
) -> Sequence:
    """Check inputs and masks; flip them for ``go_backwards``."""
    inputs = as_arrays(inputs, "inputs")
    leaves = jax.tree_util.tree_flatten_with_path(inputs)[0]
    if not leaves:
        raise ArgumentError("`inputs` holds no array: give at least one of shape (batch, time, …).")
    for path, leaf in leaves:
        _check_leaf("inputs" + jax.tree_util.keystr(path), leaf, leaves[0][1])
    first = leaves[0][1]
    time, batch = first.shape[:2] if time_major else first.shape[1::-1]
    if mask is not None:
        valid = _read_mask("mask", mask, batch, time, time_major)
    else:
        valid = _read_lengths(input_length, batch, time)
    sequence = Sequence(
        inputs if time_major else jax.tree.map(_swap, inputs),
        valid,
        None if reset is None else _read_mask("reset", reset, batch, time, time_major),
        time,
        batch,
    )
    return _reverse(sequence) if go_backwards else sequence


def read_states(states: Any, batch: Any, masked: bool, argument: str = "initial_states") -> list:
    """The states as a list of trees of arrays with the batch in dimension 0."""
    if not isinstance(states, list | tuple):
        if not hasattr(states, "shape"):
            raise ArgumentTypeError(
                f"`{argument}` must be a list or tuple of arrays, got {type(states).__name__}."
            )
        states = [states]
    states = as_arrays(list(states), argument)
    for path, leaf in jax.tree_util.tree_flatten_with_path(states)[0]:
        if (leaf.ndim == 0 and masked) or (leaf.ndim > 0 and leaf.shape[0] != batch):
            raise ArgumentError(
                f"`{argument}{jax.tree_util.keystr(path)}` is {show_leaf(leaf)}, but `inputs` "
                f"have batch size {batch}: expected the batch in dimension 0."
            )
    return states


def read_constants(constants: Any) -> list:
    """The constants as a list of trees of arrays."""
    if constants is None:
        return []
    if not isinstance(constants, list | tuple):
        if not hasattr(constants, "shape"):
            raise ArgumentTypeError(
                f"`constants` must be a list or tuple of arrays, got {type(constants).__name__}."
            )
        constants = [constants]
    return as_arrays(list(constants), "constants")


def read_unroll(unroll: Any, time: Any) -> int | bool:
    """``False``, ``True`` (every step) or the number of steps per iteration."""
    if isinstance(unroll, bool):
        if unroll and not isinstance(time, int):
            raise ArgumentError(
                f"`unroll=True` needs a fixed number of time steps, but the time dimension of "
                f"`inputs` is {time}. Use unroll=False, or a fixed size."
            )
        return unroll
    if not isinstance(unroll, int):
        raise ArgumentTypeError(
            f"`unroll` must be a bool or a positive int, got {type(unroll).__name__}."
        )
    if unroll < 1:
        raise ArgumentError(f"`unroll` must be at least 1, got {unroll}.")
    return unroll


def read_initial_output(initial_output: Any, output: Tree) -> Tree:
    """The output before the first step: zeros unless given."""
    if initial_output is None:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output)
    initial_output = as_arrays(initial_output, "initial_output")
    check_like(
        initial_output, output, "`initial_output` was given", "the output of `step_function`"
    )
    return jax.tree.unflatten(jax.tree.structure(output), jax.tree.leaves(initial_output))


def check_rule(masked_output: Any, zero_output_for_mask: bool) -> None:
    """Refuse an unknown rule for masked outputs, or two rules at once."""
    if masked_output not in MASKED_OUTPUTS:
        raise ArgumentError(
            f"`masked_output` must be one of {MASKED_OUTPUTS}, got {masked_output!r}."
        )
    if zero_output_for_mask and masked_output != "previous":
        raise ArgumentError(
            f"`zero_output_for_mask=True` and `masked_output={masked_output!r}` contradict each "
            "other: give one of them."
        )


def _check_leaf(name: str, leaf: jax.Array, first: jax.Array) -> None:
    if leaf.ndim < 3:
        raise ArgumentError(
            f"`{name}` must have rank at least 3 (batch, time, …), got {show_leaf(leaf)}."
        )
    if leaf.shape[:2] != first.shape[:2]:
        raise ArgumentError(
            f"`{name}` is {show_leaf(leaf)} but the first of `inputs` is {show_leaf(first)}: "
            "batch and time must agree."
        )


def _read_mask(name: str, mask: Any, batch: Any, time: Any, time_major: bool) -> jax.Array:
    array = as_arrays(mask if hasattr(mask, "shape") else np.asarray(mask), name)
    expected = (time, batch) if time_major else (batch, time)
    if array.shape[:2] != expected or any(size != 1 for size in array.shape[2:]):
        order = "(time, batch)" if time_major else "(batch, time)"
        raise ArgumentError(
            f"`{name}` has shape {array.shape}, expected {order} = {expected}, "
            "optionally with trailing dimensions of size 1."
        )
    array = array.reshape(expected)
    array = array if array.dtype == jnp.bool_ else array != 0
    return array if time_major else array.T


def _read_lengths(input_length: Any, batch: Any, time: Any) -> jax.Array | None:
    if input_length is None:
        return None
    lengths = jnp.asarray(input_length)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ArgumentTypeError(f"`input_length` must hold integers, got {lengths.dtype}.")
    _check_length_values(input_length, time)
    if lengths.ndim == 0:
        return None
    if lengths.shape != (batch,):
        raise ArgumentError(
            f"`input_length` has shape {lengths.shape}, expected one length per row: ({batch},)."
        )
    steps = jnp.arange(time, dtype=lengths.dtype)
    return steps[:, None] < lengths[None, :]


def _check_length_values(input_length: Any, time: Any) -> None:
    lengths = concrete(input_length)
    if lengths is None or not isinstance(time, int) or lengths.size == 0:
        return
    smallest, largest = int(lengths.min()), int(lengths.max())
    if smallest < 0 or largest > time:
        raise ArgumentError(
            f"`input_length` goes from {smallest} to {largest}, but `inputs` have {time} time "
            f"steps: expected lengths from 0 to {time}."
        )


def _swap(leaf: jax.Array) -> jax.Array:
    return jnp.swapaxes(leaf, 0, 1)


def _reverse(sequence: Sequence) -> Sequence:
    inputs, mask, reset = jax.tree.map(
        lambda leaf: jnp.flip(leaf, 0), (sequence.inputs, sequence.mask, sequence.reset)
    )
    return Sequence(inputs, mask, reset, sequence.time, sequence.batch)
