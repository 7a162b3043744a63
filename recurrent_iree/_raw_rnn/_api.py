"""`raw_rnn` with the rules of tf.nn.raw_rnn (r1.4)."""

from typing import Any

import jax.numpy as jnp

from recurrent_iree._trees import Tree
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._checks import LoopFunction, call_loop_fn, check_cell, read_start
from ._loop import prepare, run_bounded, run_on_host

HOST_ROWS = 16


def raw_rnn(
    cell: Any,
    loop_fn: LoopFunction,
    parallel_iterations: int | None = None,
    swap_memory: bool = False,
    scope: Any = None,
    *,
    max_steps: int | None = None,
) -> tuple[Tree, Tree, Tree]:
    """Run ``cell`` with the inputs, states, outputs and end that ``loop_fn`` chooses.

    ::

        time = 0
        finished, next_input, state, emit_structure, loop_state = loop_fn(0, None, None, None)
        while not all(finished):
            output, cell_state = cell(next_input, state)
            next_finished, next_input, next_state, emit, loop_state = loop_fn(
                time + 1, output, cell_state, loop_state)
            state = where(finished, state, next_state)
            emit_ta = emit_ta.write(time, where(finished, zeros_like(emit), emit))
            finished = finished | next_finished
            time += 1

    Args:
        cell: called as ``cell(input, state) -> (output, new_state)``, with the attributes
            ``state_size`` and ``output_size``: an int, a shape (tuple of ints), or a tree of these.
        loop_fn: ``(time, cell_output, cell_state, loop_state) -> (finished, next_input,
            next_cell_state, emit_output, next_loop_state)``. ``time`` is an int32 scalar; at the
            first call it is 0 and the rest None. ``finished`` is bool ``[batch]``. The first
            ``emit_output`` is None (emit what the cell outputs), or a tree of arrays of the shape
            of one example, without the batch, whose values are ignored. ``loop_state`` is any
            tree, also of `TensorArray`; a later None keeps it. All structures must stay the same.
        parallel_iterations: accepted; changes nothing.
        swap_memory: accepted; changes nothing.
        scope: accepted; changes nothing.
        max_steps: upper bound of the number of steps, where the loop stops at the latest.
            Required under jit and for ahead-of-time compilation. Without it the host drives the
            loop, one compiled step at a time.

    Returns:
        ``(emit_ta, final_state, final_loop_state)``. ``emit_ta`` has a `TensorArray` for each
        emitted array: ``stack()`` is ``[N, batch, …]``, ``size()`` the number of steps N. In a
        traced function ``stack()`` has ``max_steps`` rows, zeros from N on.

    Raises:
        ArgumentTypeError: (a TypeError) ``cell`` is no cell, ``loop_fn`` is no function.
        ArgumentError: (a ValueError) shapes that do not fit ``cell.state_size``, or a ``loop_fn``
            that changes its structure; ``max_steps`` missing or negative.

    Source: tf.nn.raw_rnn, TensorFlow r1.4.

    >>> import jax.numpy as jnp
    >>> class Sum:
    ...     state_size = output_size = 1
    ...     def __call__(self, x, s):
    ...         return x + s, x + s
    >>> def loop_fn(time, output, state, loop_state):
    ...     state = jnp.zeros((1, 1)) if state is None else state
    ...     return time >= jnp.array([3]), jnp.ones((1, 1)), state, output, None
    >>> emit_ta, state, _ = raw_rnn(Sum(), loop_fn)
    >>> emit_ta.stack().ravel().tolist(), int(emit_ta.size())
    ([1.0, 2.0, 3.0], 3)
    """
    del swap_memory, scope
    check_cell(cell)
    if not callable(loop_fn):
        raise ArgumentTypeError(f"`loop_fn` must be a function, got {type(loop_fn).__name__}.")
    _check_count("parallel_iterations", parallel_iterations, 1)
    _check_count("max_steps", max_steps, 0)
    start = read_start(cell, call_loop_fn(loop_fn, jnp.int32(0), None, None, None))
    iteration, carry = prepare(
        cell, loop_fn, start, HOST_ROWS if max_steps is None else max_steps + 1
    )
    if max_steps is None:
        emit_ta, carry = run_on_host(iteration, carry)
    else:
        emit_ta, carry = run_bounded(iteration, carry, max_steps)
    return emit_ta, carry.state, carry.loop_state


def _check_count(name: str, value: Any, smallest: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"`{name}` must be an int or None, got {type(value).__name__}.")
    if value < smallest:
        raise ArgumentError(f"`{name}` must be at least {smallest}, got {value}.")
