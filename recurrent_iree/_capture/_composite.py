"""A loop as a composite that the compiler finds: its cell, its length, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._any_rows import ROWS, step_for_any_rows, unknown_rows
from ._mark import marked as marked_any

RECURRENCE = "recurrent_iree.recurrence"
CELL = "recurrent_iree.cell"
VERSION = 1
ANY_LENGTH = -1


def emit_recurrence(
    cell: Callable[..., tuple[Any, ...]],
    *,
    consts: list[Any],
    init: list[Any],
    xs: list[Any],
    length: int,
    reverse: bool,
    marked: bool,
) -> list[Any]:
    """Loop `cell(*consts, *carry, *x_t) -> (*carry, *y_t)`; returns the last carry and all y.

    A `length` that is a symbol is known from the step inputs; a loop without any gets one.
    """
    if not isinstance(length, int) and not xs:
        xs, cell = [jnp.zeros((length,), jnp.int32)], _without_last(cell)
    if length == 1 and not marked:
        out = cell(*consts, *init, *(x[0] for x in xs))
        return [*out[: len(init)], *(y[None] for y in out[len(init) :])]
    counts = (len(consts), len(init), len(xs))
    if not marked or length == 0 or any(_is_key(v) for v in [*consts, *init, *xs]):
        return list(_plain_loop(cell, counts, length, reverse)(*consts, *init, *xs))
    attributes = {
        "num_consts": counts[0],
        "num_carry": counts[1],
        "num_xs": counts[2],
        "length": length if isinstance(length, int) else ANY_LENGTH,
        "reverse": reverse,
    }
    operands = [*consts, *init, *xs]
    if any(not isinstance(n, int) for value in operands for n in jnp.shape(value)):
        inputs = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in xs]
        arguments = [*consts, *init, *inputs]
        template = step_for_any_rows(cell, arguments, length)
        if unknown_rows(arguments, length):
            attributes["rows"] = ROWS
        step = marked_any(cell, CELL, {})
        loop = _plain_loop(step, counts, length, reverse)
        return marked_any(loop, RECURRENCE, attributes, template)(*operands)
    step = lax.composite(cell, name=CELL, version=VERSION)
    loop = _plain_loop(step, counts, length, reverse)
    return list(lax.composite(loop, name=RECURRENCE, version=VERSION)(*operands, **attributes))


def _plain_loop(
    cell: Callable[..., Any], counts: tuple[int, int, int], length: int, reverse: bool
) -> Callable[..., tuple[Any, ...]]:
    num_consts, num_carry, _ = counts

    def loop(*operands: Any, **_attributes: Any) -> tuple[Any, ...]:
        consts = operands[:num_consts]

        def step(carry: tuple[Any, ...], x: tuple[Any, ...]) -> tuple[Any, Any]:
            out = tuple(cell(*consts, *carry, *x))
            return out[:num_carry], out[num_carry:]

        init = operands[num_consts : num_consts + num_carry]
        xs = operands[num_consts + num_carry :]
        steps = length if isinstance(length, int) else None
        carry, ys = lax.scan(step, init, xs, length=steps, reverse=reverse)
        return (*carry, *ys)

    return loop


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.extended)


def _without_last(cell: Callable[..., Any]) -> Callable[..., Any]:
    """`cell`, for one more argument, which it does not get."""
    return lambda *values: cell(*values[:-1])
