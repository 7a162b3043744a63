"""One loop over time in three forms: static, bounded by data, and leaving early."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_iree._trees import Tree

Body = Callable[[Tree, Tree, Any], tuple[Tree, Tree]]
Proceed = Callable[[Any, Tree], jax.Array]


def run(
    body: Body,
    carry: Tree,
    xs: Tree,
    length: int,
    *,
    limit: Any = None,
    proceed: Proceed | None = None,
    exact: bool = False,
    reverse: bool = False,
    timed: bool = False,
) -> tuple[Tree, Tree, Any]:
    """Run ``body(carry, xs[t], t) -> (carry, row)``: (carry, rows, number of steps or None).

    Steps are ``t = 0 … n-1`` (downwards with ``reverse``), ``n`` being ``length``, or ``limit``
    if that is given, or the first ``t`` at which ``proceed(t, carry)`` is false. Rows ``t >= n``
    are zeros. ``exact`` runs ``n`` steps in a `while` loop, else ``length`` steps with selects,
    which keeps the trip count static.
    """
    if limit is None and proceed is None:
        times = jnp.arange(length, dtype=jnp.int32) if timed else None
        carry, rows = lax.scan(
            lambda carry, x: body(carry, *x), carry, (xs, times), length=length, reverse=reverse
        )
        return carry, rows, None
    bound = jnp.int32(length) if limit is None else limit
    go_on = (lambda t, carry: jnp.bool_(True)) if proceed is None else proceed
    if exact:
        return _leaving(body, carry, xs, length, bound, go_on, reverse)
    return _selecting(body, carry, xs, length, bound, go_on, reverse)


def _selecting(
    body: Body, carry: Tree, xs: Tree, length: int, bound: Any, go_on: Proceed, reverse: bool
) -> tuple[Tree, Tree, Any]:
    def step(loop: tuple[Tree, jax.Array], x: tuple[Tree, jax.Array]) -> tuple[Any, Tree]:
        carry, count = loop
        x_t, t = x
        running = t < bound
        if not reverse:
            running = running & (count == t) & go_on(t, carry)
        new, row = body(carry, x_t, t)
        carry = jax.tree.map(lambda yes, no: jnp.where(running, yes, no), new, carry)
        row = jax.tree.map(lambda leaf: jnp.where(running, leaf, jnp.zeros_like(leaf)), row)
        return (carry, count + running.astype(jnp.int32)), row

    times = jnp.arange(length, dtype=jnp.int32)
    (carry, count), rows = lax.scan(step, (carry, jnp.int32(0)), (xs, times), reverse=reverse)
    return carry, rows, count


def _leaving(
    body: Body, carry: Tree, xs: Tree, length: int, bound: Any, go_on: Proceed, reverse: bool
) -> tuple[Tree, Tree, Any]:
    def at(t: Any) -> Tree:
        return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, t, keepdims=False), xs)

    def condition(loop: tuple) -> jax.Array:
        count, carry, _ = loop
        return (count < bound) & go_on(count, carry)

    def step(loop: tuple) -> tuple:
        count, carry, rows = loop
        t = bound - 1 - count if reverse else count
        carry, row = body(carry, at(t), t)
        rows = jax.tree.map(partial(_write, t), rows, row)
        return count + 1, carry, rows

    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    _, row = jax.eval_shape(body, carry, first, jnp.int32(0))
    empty = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), row)
    if length == 0:
        return carry, empty, jnp.int32(0)
    count, carry, rows = lax.while_loop(condition, step, (jnp.int32(0), carry, empty))
    return carry, rows, count


def _write(t: Any, rows: jax.Array, row: jax.Array) -> jax.Array:
    return lax.dynamic_update_index_in_dim(rows, row, t, 0)
