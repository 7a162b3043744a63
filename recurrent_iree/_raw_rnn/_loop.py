"""The two loops of `raw_rnn`: bounded, for compilation, and driven by the host."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_iree._trees import Tree, abstract
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._checks import (
    LoopFunction,
    Start,
    call_loop_fn,
    check_emit,
    check_next,
    emit_shapes,
    read_finished,
)
from ._tensor_array import TensorArray


class Carry(NamedTuple):
    """What one iteration hands to the next."""

    time: jax.Array
    finished: jax.Array
    next_input: Tree
    state: Tree
    loop_state: Tree


@dataclass(frozen=True)
class Iteration:
    """One iteration: the cell, then ``loop_fn``, then the masks of finished rows."""

    cell: Any
    loop_fn: LoopFunction
    emit: Tree

    def __call__(self, carry: Carry) -> tuple[Carry, Tree]:
        result, output, time = self.raw(carry)
        next_finished, next_input, next_state, emit, loop_state = result
        if loop_state is None:
            loop_state = carry.loop_state
        state = check_next("next_cell_state", next_state, carry.state)
        emit = check_emit(emit, self.emit)
        done = carry.finished
        new = Carry(
            time,
            done | read_finished(next_finished, done.shape[0]),
            check_next("next_input", next_input, carry.next_input),
            _keep_rows(done, carry.state, state),
            check_next("next_loop_state", loop_state, carry.loop_state),
        )
        return new, _keep_rows(done, jax.tree.map(jnp.zeros_like, emit), emit)

    def raw(self, carry: Carry) -> tuple[Any, Tree, jax.Array]:
        """The results of ``loop_fn``, the output of the cell and the time, unchecked."""
        result = self.cell(carry.next_input, carry.state)
        if not isinstance(result, list | tuple) or len(result) != 2:
            raise ArgumentTypeError(
                f"`cell` must return (output, new_state), got {type(result).__name__}."
            )
        output, cell_state = result
        time = carry.time + 1
        return call_loop_fn(self.loop_fn, time, output, cell_state, carry.loop_state), output, time


def prepare(cell: Any, loop_fn: LoopFunction, start: Start, rows: int) -> tuple[Iteration, Carry]:
    """Find the emit structure, and give every growing TensorArray room for ``rows`` rows."""
    carry = Carry(jnp.int32(0), start.finished, start.next_input, start.state, start.loop_state)
    iteration = Iteration(cell, loop_fn, None)
    result, output, _ = abstract(iteration.raw, carry)
    emit = emit_shapes(cell, start.emit, output, start.batch)
    return replace(iteration, emit=emit), _with_room(carry, result[4], rows)


def run_bounded(iteration: Iteration, carry: Carry, max_steps: int) -> tuple[Tree, Carry]:
    """At most ``max_steps`` iterations in one scan; those after the last one change nothing."""

    def body(carry: Carry, _: None) -> tuple[Carry, Tree]:
        running = ~jnp.all(carry.finished)
        new, emit = iteration(carry)
        return jax.tree.map(lambda yes, no: jnp.where(running, yes, no), new, carry), emit

    carry, rows = lax.scan(body, carry, None, length=max_steps)
    return jax.tree.map(lambda leaf: TensorArray.from_rows(leaf, carry.time), rows), carry


def run_on_host(iteration: Iteration, carry: Carry) -> tuple[Tree, Carry]:
    """Iterations until every row is finished, as many as it takes."""
    step = jax.jit(lambda carry: iteration(carry))
    emits = []
    while not _all_finished(carry):
        if len(emits) + 2 > _room(carry):
            carry = _with_room(carry, carry.loop_state, 2 * len(emits) + 2)
        carry, emit = step(carry)
        emits.append(emit)
    if emits:
        rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *emits)
    else:
        rows = jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape), leaf.dtype), iteration.emit)
    return jax.tree.map(TensorArray.from_rows, rows), carry


def _all_finished(carry: Carry) -> bool:
    try:
        return bool(jnp.all(carry.finished))
    except jax.errors.ConcretizationTypeError as error:
        raise ArgumentError(
            "`max_steps` is required while tracing (jit, vmap, ahead-of-time compilation), where "
            "shapes are static: give an upper bound of the number of steps."
        ) from error


def _keep_rows(finished: jax.Array, old: Tree, new: Tree) -> Tree:
    def keep(old: Any, new: Any) -> Any:
        if isinstance(old, TensorArray) or old.ndim == 0:
            return new
        return jnp.where(finished.reshape((-1,) + (1,) * (old.ndim - 1)), old, new)

    return jax.tree.map(keep, old, new, is_leaf=_is_array)


def _with_room(carry: Carry, after: Tree, rows: int) -> Carry:
    arrays, structure = jax.tree.flatten(carry.loop_state, is_leaf=_is_array)
    later = jax.tree.leaves(after, is_leaf=_is_array)
    if len(arrays) != len(later):
        return carry
    roomy = [_reserved(array, found, rows) for array, found in zip(arrays, later, strict=True)]
    return carry._replace(loop_state=jax.tree.unflatten(structure, roomy))


def _reserved(array: Any, found: Any, rows: int) -> Any:
    if not isinstance(array, TensorArray) or not isinstance(found, TensorArray):
        return array
    if found.element_shape is None:
        return array
    return array.reserve(rows if array.dynamic_size else array.capacity, found.element_shape)


def _room(carry: Carry) -> int:
    arrays = jax.tree.leaves(carry.loop_state, is_leaf=_is_array)
    growing = [a.capacity for a in arrays if isinstance(a, TensorArray) and a.dynamic_size]
    return min(growing, default=2**31)


def _is_array(node: Any) -> bool:
    return isinstance(node, TensorArray)
