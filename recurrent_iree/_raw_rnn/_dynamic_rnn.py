"""`dynamic_rnn`, built on `raw_rnn` as its reference page shows."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree._trees import Tree, as_arrays, concrete, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._api import raw_rnn
from ._checks import check_cell
from ._tensor_array import TensorArray


def dynamic_rnn(
    cell: Any,
    inputs: Tree,
    sequence_length: Any = None,
    initial_state: Tree = None,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    time_major: bool = False,
    scope: Any = None,
) -> tuple[Tree, Tree]:
    """Run ``cell`` over ``inputs``, each row up to its own length.

    Args:
        cell: as for `raw_rnn`.
        inputs: array ``[batch, time, …]`` (``[time, batch, …]`` with ``time_major``), or a tree.
        sequence_length: integers ``[batch]``: past its length a row outputs zeros and keeps its
            state. All time steps if not given.
        initial_state: like ``cell.state_size``. If not given: ``cell.zero_state(batch, dtype)``,
            or zeros of ``cell.state_size``.
        dtype: of the zeros; that of the inputs if not given.
        parallel_iterations: accepted; changes nothing.
        swap_memory: accepted; changes nothing.
        time_major: whether time is dimension 0 of inputs and outputs.
        scope: accepted; changes nothing.

    Returns:
        ``(outputs, final_state)``: outputs ``[batch, time, …]`` in the structure of
        ``cell.output_size``.

    Raises:
        ArgumentTypeError: (a TypeError) ``cell`` is no cell; lengths that are no integers.
        ArgumentError: (a ValueError) lengths that are no vector ``[batch]`` or are outside
            ``0 … time``; inputs whose batch or time differ; a state that does not fit the cell.

    Source: tf.nn.dynamic_rnn and tf.nn.raw_rnn, TensorFlow r1.4.

    >>> import jax.numpy as jnp
    >>> class Sum:
    ...     state_size = output_size = 1
    ...     def __call__(self, x, s):
    ...         return x + s, x + s
    >>> outputs, state = dynamic_rnn(Sum(), jnp.ones((2, 3, 1)), jnp.array([3, 1]))
    >>> outputs[:, :, 0].tolist(), state[:, 0].tolist()
    ([[1.0, 2.0, 3.0], [1.0, 0.0, 0.0]], [3.0, 1.0])
    """
    check_cell(cell)
    inputs = as_arrays(inputs, "inputs")
    batch, time = _batch_and_time(inputs, time_major)
    if not time_major:
        inputs = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), inputs)
    lengths = _lengths(sequence_length, batch, time)
    if initial_state is None:
        dtype = jax.tree.leaves(inputs)[0].dtype if dtype is None else dtype
        initial_state = _zero_state(cell, batch, dtype)

    def loop_fn(t: Any, output: Tree, state: Tree, loop_state: Any) -> tuple:
        step = jnp.minimum(t, time - 1)
        x = jax.tree.map(lambda leaf: _row(leaf, step, batch), inputs)
        return t >= lengths, x, initial_state if output is None else state, output, None

    emit_ta, state, _ = raw_rnn(
        cell, loop_fn, parallel_iterations, swap_memory, scope, max_steps=time
    )
    order = (lambda rows: rows) if time_major else (lambda rows: jnp.swapaxes(rows, 0, 1))
    outputs = jax.tree.map(
        lambda array: order(array.all_rows()),
        emit_ta,
        is_leaf=lambda node: isinstance(node, TensorArray),
    )
    return outputs, state


def _batch_and_time(inputs: Tree, time_major: bool) -> tuple[int, int]:
    leaves = jax.tree_util.tree_flatten_with_path(inputs)[0]
    if not leaves:
        raise ArgumentError("`inputs` holds no array: give at least one of shape (batch, time, …).")
    first = leaves[0][1]
    for path, leaf in leaves:
        if leaf.ndim < 2 or leaf.shape[:2] != first.shape[:2]:
            raise ArgumentError(
                f"`inputs{jax.tree_util.keystr(path)}` is {show_leaf(leaf)}, but the first of "
                f"`inputs` is {show_leaf(first)}: batch and time must agree."
            )
    return tuple(first.shape[1::-1] if time_major else first.shape[:2])  # type: ignore[return-value]


def _lengths(sequence_length: Any, batch: int, time: int) -> jax.Array:
    if sequence_length is None:
        return jnp.full((batch,), time, jnp.int32)
    lengths, known = jnp.asarray(sequence_length), concrete(sequence_length)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ArgumentTypeError(f"`sequence_length` must hold integers, got {lengths.dtype}.")
    if lengths.shape != (batch,):
        raise ArgumentError(
            f"`sequence_length` must be a vector of one length per row ({batch},), got the shape "
            f"{lengths.shape}."
        )
    if known is not None and known.size and (known.min() < 0 or known.max() > time):
        raise ArgumentError(
            f"`sequence_length` goes from {known.min()} to {known.max()}, but `inputs` have {time} "
            f"time steps: expected 0 to {time}."
        )
    return lengths.astype(jnp.int32)


def _zero_state(cell: Any, batch: int, dtype: Any) -> Tree:
    if hasattr(cell, "zero_state"):
        return cell.zero_state(batch, dtype)

    def zeros(size: Any) -> jax.Array:
        return jnp.zeros((batch, *((size,) if isinstance(size, int) else size)), dtype)

    return jax.tree.map(zeros, cell.state_size, is_leaf=_is_size)


def _is_size(size: Any) -> bool:
    container = isinstance(size, list | tuple | dict) and not hasattr(size, "as_list")
    return not container or size == ()


def _row(leaf: jax.Array, step: Any, batch: int) -> jax.Array:
    if leaf.shape[0] == 0:
        return jnp.zeros((batch, *leaf.shape[2:]), leaf.dtype)
    return jax.lax.dynamic_index_in_dim(leaf, step, keepdims=False)
