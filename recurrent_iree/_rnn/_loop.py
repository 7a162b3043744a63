"""The loop of `rnn`: one `lax.scan` over time-major inputs, with or without a mask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_iree._trees import Tree, abstract, check_like, repack, select_rows, show, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._arguments import Sequence

StepFunction = Callable[[Any, list], tuple[Any, Any]]


@dataclass(frozen=True)
class Step:
    """A checked step function and the rule for the outputs of masked rows."""

    function: StepFunction
    constants: list
    rule: str  # "previous", "first_state" or "zeros"

    def __call__(self, inputs: Tree, states: list) -> tuple[Tree, list]:
        result = self.function(inputs, states + self.constants)
        if not isinstance(result, list | tuple) or len(result) != 2:
            raise ArgumentTypeError(
                "`step_function` must return a pair (output, new_states), got "
                f"{type(result).__name__}."
            )
        output, new_states = result
        if not isinstance(new_states, list | tuple):
            raise ArgumentTypeError(
                "`step_function` must return its new states as a list or tuple, got "
                f"{type(new_states).__name__}."
            )
        output, new_states = jax.tree.map(jnp.asarray, (output, list(new_states)))
        check_like(new_states, states, "`step_function` returned new states", "`initial_states`")
        return output, repack(new_states, states)


def output_of(step: Step, sequence: Sequence, states: list) -> Tree:
    """Shapes and dtypes of one step's output; refuses what the loop could not run."""
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), sequence.inputs
    )
    output, _ = abstract(step, first, states)
    for leaf in jax.tree.leaves(output):
        if not leaf.shape or leaf.shape[0] != sequence.batch:
            raise ArgumentError(
                f"`step_function` returned the output {show_leaf(leaf)}, expected the batch size "
                f"{sequence.batch} in dimension 0."
            )
    if step.rule == "first_state" and sequence.mask is not None:
        _check_first_state(states, output)
    return output


def run(
    step: Step,
    sequence: Sequence,
    states: list,
    previous: Tree,
    reset_states: list | None,
    unroll: int | bool,
) -> tuple[Tree, Tree, list]:
    """Run the loop: (last output, time-major outputs, new states)."""

    def restart(states: list, previous: Tree, reset: jax.Array | None) -> tuple[list, Tree]:
        if reset is None:
            return states, previous
        to = jax.tree.map(jnp.zeros_like, states) if reset_states is None else reset_states
        zeros = jax.tree.map(jnp.zeros_like, previous)
        return select_rows(reset, to, states), select_rows(reset, zeros, previous)

    def plain(states: list, x: tuple) -> tuple[list, Tree]:
        inputs, _, reset = x
        states, _ = restart(states, (), reset)
        output, states = step(inputs, states)
        return states, output

    def masked(states: list, x: tuple) -> tuple[list, Tree]:
        inputs, valid, reset = x
        states, _ = restart(states, (), reset)
        output, new_states = step(inputs, states)
        other = states[0] if step.rule == "first_state" else jax.tree.map(jnp.zeros_like, output)
        return select_rows(valid, new_states, states), select_rows(valid, output, other)

    def masked_previous(carry: tuple[list, Tree], x: tuple) -> tuple[tuple[list, Tree], Tree]:
        inputs, valid, reset = x
        states, previous = restart(*carry, reset)
        output, new_states = step(inputs, states)
        output = select_rows(valid, output, previous)
        return (select_rows(valid, new_states, states), output), output

    xs = (sequence.inputs, sequence.mask, sequence.reset)
    if sequence.mask is not None and step.rule == "previous":
        (states, last), outputs = lax.scan(masked_previous, (states, previous), xs, unroll=unroll)
        return last, outputs, states
    body = plain if sequence.mask is None else masked
    states, outputs = lax.scan(body, states, xs, unroll=unroll)
    if isinstance(sequence.time, int) and sequence.time == 0:
        return previous, outputs, states
    return jax.tree.map(lambda leaf: leaf[-1], outputs), outputs, states


def _check_first_state(states: list, output: Tree) -> None:
    if not states:
        raise ArgumentError(
            "`mask` was given, but `initial_states` is empty: this masked-output rule emits the "
            "first state. Give a state that holds the previous output."
        )
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(output)]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(states[0])]:
        raise ArgumentError(
            "`mask` was given, and this masked-output rule emits the first state: "
            f"`initial_states[0]` is {show(states[0])}, but the output is {show(output)}. Make the "
            'first state the output, or use `rnn` with masked_output="previous".'
        )
