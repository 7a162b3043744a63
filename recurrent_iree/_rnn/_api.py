"""`rnn` with the rules of tf.keras.backend.rnn (r2.4)."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree._trees import Tree, check_like
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._arguments import (
    check_rule,
    read_constants,
    read_initial_output,
    read_sequence,
    read_states,
    read_unroll,
)
from ._loop import Step, StepFunction, output_of, run


def rnn(
    step_function: StepFunction,
    inputs: Tree,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: bool | int = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    *,
    masked_output: str = "previous",
    initial_output: Tree = None,
    reset: Any = None,
    reset_states: Any = None,
) -> tuple[Tree, Tree, list]:
    """Iterate ``step_function`` over the time dimension of ``inputs``.

    Args:
        step_function: ``(x_t, states + constants) -> (output, new_states)``; ``x_t`` is one time
            step ``[batch, …]``, the second argument a list. Pure; it is traced twice.
        inputs: array ``[batch, time, …]`` of rank 3 or more, or a tree of such arrays.
        initial_states: list of arrays (or trees of arrays) ``[batch, …]`` of any dtype; may be
            empty. One bare array stands for a list of one.
        go_backwards: process the last time step first. Outputs stay in processing order.
        mask: ``[batch, time]`` or ``[batch, time, 1]`` of any dtype; zero marks a masked step, at
            which that row keeps its states and repeats its previous output (zeros before its
            first valid step).
        constants: list of arrays, appended to the states at every step; one bare array stands for
            a list of one.
        unroll: True for straight-line code, or an integer: steps per loop iteration.
        input_length: integers ``[batch]``: row ``b`` is valid at time ``t < input_length[b]``.
            Ignored where ``mask`` is given. A single integer changes nothing, as in r2.4.
        time_major: inputs, outputs and masks are ``[time, batch, …]``.
        zero_output_for_mask: masked outputs are zeros instead of the previous output.
        masked_output: ``"previous"`` as above, or ``"first_state"``: a masked row emits its
            incoming first state (the loop of Keras r1.1).
        initial_output: the previous output before the first step, for a sequence cut into
            chunks: give the ``last_output`` of the chunk before. Zeros if not given.
        reset: ``[batch, time]`` of any dtype; where nonzero, that row starts afresh before this
            step: its states become ``reset_states`` and its previous output zeros.
        reset_states: like ``initial_states``; zeros if not given.

    Returns:
        ``(last_output, outputs, new_states)``: the output of the last processed step
        ``[batch, …]``, all outputs ``[batch, time, …]``, and the list of final states. With no
        time steps, ``last_output`` is ``initial_output``.

    Raises:
        ArgumentError: (a ValueError) inputs of rank below 3; ``unroll=True`` with an unknown
            number of steps; shapes, structures or dtypes that do not fit, naming both.
        ArgumentTypeError: (a TypeError) an argument that is no array, list or function.

    Source: tf.keras.backend.rnn, TensorFlow r2.4.

    >>> import jax.numpy as jnp
    >>> def step(x, states):
    ...     return x + states[0], [x + states[0]]
    >>> last, outputs, states = rnn(step, jnp.ones((1, 3, 1)), [jnp.zeros((1, 1))])
    >>> outputs[0, :, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    if not callable(step_function):
        raise ArgumentTypeError(
            f"`step_function` must be a function, got {type(step_function).__name__}."
        )
    check_rule(masked_output, zero_output_for_mask)
    sequence = read_sequence(
        inputs, mask, reset, input_length, time_major=time_major, go_backwards=go_backwards
    )
    rowwise = sequence.mask is not None or reset is not None
    states = read_states(initial_states, sequence.batch, rowwise)
    unroll = read_unroll(unroll, sequence.time)
    rule = "zeros" if zero_output_for_mask else masked_output
    step = Step(step_function, read_constants(constants), rule)
    previous = read_initial_output(initial_output, output_of(step, sequence, states))
    fresh = _read_reset_states(reset, reset_states, states, sequence.batch)
    last, outputs, states = run(step, sequence, states, previous, fresh, unroll)
    if not time_major:
        outputs = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), outputs)
    return last, outputs, states


def _read_reset_states(reset: Any, reset_states: Any, states: list, batch: Any) -> list | None:
    if reset_states is None:
        return None
    if reset is None:
        raise ArgumentError("`reset_states` was given without `reset`: give both or none.")
    fresh = read_states(reset_states, batch, True, "reset_states")
    check_like(fresh, states, "`reset_states` was given", "`initial_states`")
    return jax.tree.unflatten(jax.tree.structure(states), jax.tree.leaves(fresh))
