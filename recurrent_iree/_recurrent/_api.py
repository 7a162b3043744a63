"""`Recurrent`: the arguments of tf.contrib.recurrent.Recurrent (r1.10), checked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree._trees import Tree, as_arrays, check_like, concrete, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._cell import Cell
from ._passes import Operands, Passes
from ._purity import check_pure


def Recurrent(
    theta: Tree,
    state0: Tree,
    inputs: Tree,
    cell_fn: Callable[..., Any],
    cell_grad: Callable[..., Any] | None = None,
    extras: Tree = None,
    max_input_length: Any = None,
    use_tpu: bool = False,
    *,
    stop_fn: Callable[..., Any] | None = None,
    accumulators: Tree = None,
    return_extras: bool = False,
    rng: Any = None,
) -> tuple[Any, ...]:
    """Run a recurrence whose gradient keeps the states only and recomputes the cell.

    ::

        state = state0
        for t in range(L):
            state, extras = cell_fn(theta, state, inputs[t])
            accumulate_state[t] = state

    Args:
        theta: weights, any tree of arrays; may be empty.
        state0: initial state, any tree of arrays of any rank and dtype.
        inputs: any tree of arrays ``[T, …]``; a step gets ``leaf[t]`` of each.
        cell_fn: ``(theta, state0, inputs_t) -> (state1, extras)``. Pure: closing over a traced
            array is refused; a concrete array is a constant.
        cell_grad: ``(theta, state0, inputs_t, extras_t, dstate1) -> (dtheta, dstate0, dinputs)``,
            each like its argument, with None for zeros. Without it: the derivative of `cell_fn`.
        extras: a tree like the second result of `cell_fn`, to be checked against; never read.
        max_input_length: run ``L`` steps only: an int, or a scalar integer array, also a traced
            one (then limited to ``0 … T``). Rows ``t >= L`` of ``accumulate_state`` are zeros.
        use_tpu: for XLA: a traced ``max_input_length`` or a ``stop_fn`` ends a `while` loop early,
            where otherwise all ``T`` steps run and the rest is masked. Changes no number.
        stop_fn: ``(t, theta, state) -> bool``: the loop ends before step ``t`` when it is true.
        accumulators: a tree of arrays. `cell_fn` then returns ``(state1, extras, increments)``,
            and their sums over the steps are added; nothing of them is stored per step.
        return_extras: also return the extras of all steps; they have no gradient.
        rng: a JAX random key. `cell_fn` (and `cell_grad`) then get ``rng=``, a key of their step,
            which is the same when that step is recomputed.

    Returns:
        ``(accumulate_state, final_state)``, both like ``state0``; then, where asked for, the
        extras ``[T, …]``, the final accumulators, and (with ``stop_fn``) the number of steps.

    Raises:
        ArgumentError: (a ValueError) structures, shapes or dtypes that do not fit, a length
            outside ``0 … T``, a function that closes over traced arrays.
        ArgumentTypeError: (a TypeError) an argument of a type that cannot work.

    Source: tf.contrib.recurrent.Recurrent, TensorFlow r1.10; the keyword-only arguments follow
    Lingvo's recurrent.py.

    >>> import jax.numpy as jnp
    >>> def cell_fn(theta, state, x):
    ...     return {"v": theta["w"] * state["v"] + x}, {}
    >>> acc, final = Recurrent({"w": jnp.float32(2)}, {"v": jnp.float32(0)}, jnp.ones(3), cell_fn)
    >>> acc["v"].tolist(), float(final["v"])
    ([1.0, 3.0, 7.0], 7.0)
    """
    for name, function in (("cell_fn", cell_fn), ("cell_grad", cell_grad), ("stop_fn", stop_fn)):
        if not callable(function) and (function is not None or name == "cell_fn"):
            raise ArgumentTypeError(f"`{name}` must be a function, got {type(function).__name__}.")
    theta, state0 = as_arrays(theta, "theta"), as_arrays(state0, "state0")
    inputs = as_arrays(inputs, "inputs")
    accumulators = as_arrays(accumulators, "accumulators")
    length, steps, limit = _lengths(inputs, max_input_length)
    cell = Cell(cell_fn, cell_grad, stop_fn, _shapes(state0), _shapes(accumulators))
    _check(cell, theta, state0, inputs, extras, rng)
    passes = Passes(cell, steps, bool(use_tpu), return_extras)
    shown = jax.tree.map(lambda leaf: leaf[:steps], inputs) if steps != length else inputs
    results = passes.differentiable()(Operands(theta, state0, shown, accumulators, limit, rng))
    return _packed(results, length - steps, return_extras, accumulators, stop_fn)


def _lengths(inputs: Tree, max_input_length: Any) -> tuple[int, int, Any]:
    """(T, steps of the loop, limit known only as data)."""
    leaves = jax.tree_util.tree_flatten_with_path(inputs)[0]
    for path, leaf in leaves:
        if leaf.ndim == 0 or leaf.shape[0] != leaves[0][1].shape[0]:
            raise ArgumentError(
                f"`inputs{jax.tree_util.keystr(path)}` is {show_leaf(leaf)} but the first of "
                f"`inputs` is {show_leaf(leaves[0][1])}: all need the same time length in "
                "dimension 0."
            )
    static = isinstance(max_input_length, int | np.integer | np.ndarray)
    if max_input_length is not None:
        _check_limit(max_input_length, leaves[0][1].shape[0] if leaves else None)
    if not leaves and not static:
        raise ArgumentError(
            "`inputs` holds no array, so its time length is unknown: give `max_input_length` as "
            "an int."
        )
    if static:
        limit = int(max_input_length)
        return (leaves[0][1].shape[0] if leaves else limit), limit, None
    length = leaves[0][1].shape[0]
    if max_input_length is None:
        return length, length, None
    return length, length, jnp.clip(max_input_length, 0, length).astype(jnp.int32)


def _check_limit(limit: Any, length: int | None) -> None:
    dtype = as_arrays(limit, "max_input_length").dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ArgumentTypeError(f"`max_input_length` must be an integer, got {dtype}.")
    if jnp.shape(limit) != ():
        raise ArgumentError(
            f"`max_input_length` must be one scalar for the whole batch, got the shape "
            f"{jnp.shape(limit)}. For one length per row use `rnn` with `input_length`."
        )
    value = concrete(limit)
    if value is not None and (value < 0 or (length is not None and value > length)):
        raise ArgumentError(
            f"`max_input_length` is {int(value)}, but `inputs` have {length} time steps: expected "
            f"0 to {length}."
        )


def _check(cell: Cell, theta: Tree, state0: Tree, inputs: Tree, extras: Tree, rng: Any) -> None:
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    theta, state = _shapes(theta), _shapes(state0)
    key = None if rng is None else _shapes(rng)

    _, found, _ = check_pure(cell.forward, cell.cell_fn, "cell_fn", theta, state, x, key)
    if extras is not None:
        check_like(found, as_arrays(extras, "extras"), "`cell_fn` returned extras", "`extras`")
    if cell.cell_grad is not None:
        check_pure(cell.backward, cell.cell_grad, "cell_grad", theta, state, x, found, state, key)
    if cell.stop_fn is not None:
        check_pure(
            cell.stop, cell.stop_fn, "stop_fn", jax.ShapeDtypeStruct((), jnp.int32), theta, state
        )


def _packed(results: Any, missing: int, return_extras: bool, accumulators: Any, stop: Any) -> tuple:
    def padded(leaf: jax.Array) -> jax.Array:
        return jnp.concatenate([leaf, jnp.zeros((missing, *leaf.shape[1:]), leaf.dtype)])

    rows = (results.acc_state, results.acc_extras)
    acc_state, acc_extras = jax.tree.map(padded, rows) if missing else rows
    packed = [acc_state, results.final_state]
    packed += [acc_extras] if return_extras else []
    packed += [results.accumulators] if accumulators is not None else []
    return tuple(packed + ([results.steps] if stop is not None else []))


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
