"""`rnn` with the masked outputs of tf.contrib.keras.backend.rnn (r1.1)."""

from typing import Any

from recurrent_iree._trees import Tree
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._api import rnn
from ._loop import StepFunction


def rnn_r1_1(
    step_function: StepFunction,
    inputs: Tree,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: bool = False,
) -> tuple[Tree, Tree, list]:
    """Iterate ``step_function`` over time with the masked-output rule of Keras r1.1.

    The arguments are those of `rnn`. Only the output of a masked row differs: in loop mode it is
    the row's incoming first state, which by the contract of r1.1 is the previous output (so a
    masked first step emits ``initial_states[0]``); in unrolled mode it is the previous output,
    zeros before the first valid step.

    Raises:
        ArgumentError: (a ValueError) inputs of rank below 3; ``unroll=True`` with an unknown
            number of steps; a mask without states; in loop mode, a mask with a first state that
            has not the shape and dtype of the output.
        ArgumentTypeError: (a TypeError) ``unroll`` that is no bool.

    Source: tf.contrib.keras.backend.rnn, TensorFlow r1.1.

    >>> import jax.numpy as jnp
    >>> def step(x, states):
    ...     return x + states[0], [x + states[0]]
    >>> x, mask = jnp.ones((1, 3, 1)), jnp.array([[0, 1, 1]])
    >>> rnn_r1_1(step, x, [jnp.full((1, 1), 5.0)], mask=mask)[1][0, :, 0].tolist()
    [5.0, 6.0, 7.0]
    """
    if not isinstance(unroll, bool):
        raise ArgumentTypeError(f"`unroll` must be a bool, got {type(unroll).__name__}.")
    if mask is not None and isinstance(initial_states, list | tuple) and not initial_states:
        raise ArgumentError(
            "`mask` was given, but `initial_states` is empty: r1.1 needs a state to repeat. Give "
            "a state, or use `rnn`, which takes a mask without states."
        )
    return rnn(
        step_function,
        inputs,
        initial_states,
        go_backwards,
        mask,
        constants,
        unroll,
        masked_output="previous" if unroll else "first_state",
    )
