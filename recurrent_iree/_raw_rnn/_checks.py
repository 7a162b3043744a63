"""What `raw_rnn` requires of cells and of the results of loop functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree._trees import Tree, as_arrays, check_like, show, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._tensor_array import TensorArray

LoopFunction = Callable[[Any, Any, Any, Any], Any]


@dataclass(frozen=True)
class Start:
    """The result of the first call of ``loop_fn``, checked."""

    finished: jax.Array
    next_input: Tree
    state: Tree
    emit: Tree
    loop_state: Tree
    batch: int


def check_cell(cell: Any) -> None:
    """Refuse what is not a cell: callable, with ``state_size`` and ``output_size``."""
    missing = [name for name in ("state_size", "output_size") if not hasattr(cell, name)]
    if missing or not callable(cell):
        lacks = missing or ["a call (input, state) -> (output, new_state)"]
        raise ArgumentTypeError(
            f"`cell` must be an RNN cell, got {type(cell).__name__}, which lacks "
            f"{', '.join(lacks)}."
        )


def call_loop_fn(loop_fn: LoopFunction, *args: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Call ``loop_fn(time, cell_output, cell_state, loop_state)`` and count its results."""
    result = loop_fn(*args)
    if not isinstance(result, list | tuple) or len(result) != 5:
        given = f"{len(result)} values" if isinstance(result, list | tuple) else repr(type(result))
        raise ArgumentTypeError(
            "`loop_fn` must return 5 values (finished, next_input, next_cell_state, emit_output, "
            f"next_loop_state), got {given}."
        )
    return tuple(result)  # type: ignore[return-value]


def read_start(cell: Any, result: tuple[Any, Any, Any, Any, Any]) -> Start:
    """Check what ``loop_fn`` returned at time 0."""
    finished, next_input, state, emit, loop_state = result
    if state is None:
        raise ArgumentError("`loop_fn` returned no state at time 0: return the initial state.")
    next_input = as_arrays(next_input, "next_input")
    state = as_arrays(state, "next_cell_state")
    batch = _batch(next_input, finished)
    check_sizes(state, cell.state_size, batch, "next_cell_state", "cell.state_size")
    return Start(
        read_finished(finished, batch),
        next_input,
        state,
        None if emit is None else as_arrays(emit, "emit_output"),
        None if loop_state is None else as_arrays(loop_state, "next_loop_state"),
        batch,
    )


def read_finished(finished: Any, batch: int) -> jax.Array:
    """``finished`` as bools, one per row."""
    if finished is None:
        raise ArgumentTypeError("`loop_fn` returned finished None, expected bool [batch].")
    finished = as_arrays(finished, "finished")
    if finished.dtype != jnp.bool_:
        raise ArgumentTypeError(f"`loop_fn` returned finished as {finished.dtype}, expected bool.")
    if finished.shape not in ((), (batch,)):
        raise ArgumentError(
            f"`loop_fn` returned finished of shape {finished.shape}, expected one bool per row: "
            f"({batch},)."
        )
    return jnp.broadcast_to(finished, (batch,))


def check_next(name: str, got: Tree, want: Tree) -> Tree:
    """A later result of ``loop_fn``, required to be like the one at time 0."""
    if (got is None) != (want is None):
        raise ArgumentError(
            f"`loop_fn` returned {name} {'None' if got is None else show(got)}, but "
            f"{'None' if want is None else show(want)} at time 0: its results must keep their "
            "structure."
        )
    got = as_arrays(got, name)
    check_like(got, want, f"`loop_fn` returned {name}", "the one at time 0")
    return jax.tree.unflatten(jax.tree.structure(want), jax.tree.leaves(got))


def emit_shapes(cell: Any, first: Tree, output: Tree, batch: int) -> Tree:
    """Shapes and dtypes of what every step must emit."""
    if first is None:
        check_sizes(output, cell.output_size, batch, "cell_output", "cell.output_size")
        return output
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype), first)


def check_emit(got: Tree, want: Tree) -> Tree:
    """What a step emits, required to have the emit structure."""
    if got is None:
        raise ArgumentError(
            f"`loop_fn` returned emit_output None after time 0: emit {show(want)} at every step."
        )
    got = as_arrays(got, "emit_output")
    check_like(
        got,
        want,
        "`loop_fn` returned emit_output",
        "the first emit_output (one example, to which the batch is prepended) or the cell output",
    )
    return jax.tree.unflatten(jax.tree.structure(want), jax.tree.leaves(got))


def check_sizes(tree: Tree, sizes: Any, batch: int, name: str, attribute: str) -> None:
    """Compare arrays ``[batch, …]`` with a cell's declared sizes."""
    if isinstance(tree, TensorArray):
        return
    if hasattr(tree, "shape"):
        wanted = (sizes,) if isinstance(sizes, int) else _shape(sizes)
        if tree.shape != () and tree.shape != (None if wanted is None else (batch, *wanted)):
            raise ArgumentError(
                f"`{name}` is {show_leaf(tree)}, but `{attribute}` is {sizes} and the batch size "
                f"is {batch}."
            )
        return
    parts = _items(tree)
    if parts is None or [key for key, _ in parts] != [key for key, _ in _items(sizes) or ()]:
        raise ArgumentError(
            f"`{name}` has another structure than `{attribute}`: got {show(tree)}, expected one "
            f"array for each size of {sizes}."
        )
    for key, part in parts:
        check_sizes(part, sizes[key], batch, f"{name}[{key!r}]", f"{attribute}[{key!r}]")


def _shape(sizes: Any) -> tuple[int, ...] | None:
    try:
        shape = tuple(sizes)
    except TypeError:
        return None
    return shape if all(isinstance(size, int) for size in shape) else None


def _items(tree: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(tree, dict):
        return sorted(tree.items())
    container = isinstance(tree, list | tuple) and not hasattr(tree, "as_list")
    return list(enumerate(tree)) if container else None


def _batch(next_input: Tree, finished: Any) -> int:
    leaves = jax.tree_util.tree_flatten_with_path(next_input)[0]
    if not leaves:
        if jnp.ndim(finished) != 1:
            raise ArgumentError(
                "`loop_fn` returned neither an input nor one `finished` per row at time 0, so the "
                "batch size is unknown."
            )
        return jnp.shape(finished)[0]
    for path, leaf in leaves:
        if leaf.ndim == 0 or leaf.shape[0] != leaves[0][1].shape[0]:
            raise ArgumentError(
                f"`next_input{jax.tree_util.keystr(path)}` is {show_leaf(leaf)}, but the first of "
                f"next_input is {show_leaf(leaves[0][1])}: all need the batch in dimension 0."
            )
    return leaves[0][1].shape[0]
