"""One step of a loop over rows whose number is not known, for a number that stands for any.

The kernels of the compiler need the sizes of a step as numbers. Its rows are independent, which the
compiler proves, so it reads the step for `ROWS` rows, and loops over as many as there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax import export
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ._jaxpr import flatten_calls

ROWS = 1_000_003
"""A prime that is larger than any size that a program names."""


def step_for_any_rows(
    cell: Callable[..., Any], arguments: Sequence[Any], length: Any
) -> ClosedJaxpr | None:
    """`cell` for `ROWS` rows; ``None`` if it computes with their number, or more is unknown.

    `arguments` are arrays or their shapes as the cell takes them.
    """
    names = unknown_rows(arguments, length)
    if not names:
        return None
    avals = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arguments]
    with contextlib.suppress(_SizeAsValue):
        return at_sizes(flatten_calls(jax.make_jaxpr(cell)(*avals)), dict.fromkeys(names, ROWS))
    return None


def unknown_rows(arguments: Sequence[Any], length: Any) -> set[str]:
    """The symbol that is all that is unknown besides `length`; empty if there are more or none."""
    names = {name for a in arguments for n in a.shape for name in symbols(n)}
    return set() if len(names) != 1 or names & symbols(length) else names


class _SizeAsValue(Exception):
    """Raised inside this module: a number that stands for any must not be a value."""


def symbols(size: Any) -> set[str]:
    """The names of the symbols in a size."""
    if not export.is_symbolic_dim(size):
        return set()
    return set(size._get_vars())


def at_sizes(jaxpr: ClosedJaxpr, sizes: Mapping[str, int]) -> ClosedJaxpr:
    """The equations of `jaxpr` with numbers in the place of symbols."""
    inner = jaxpr.jaxpr

    def run(*args: Any) -> list[Any]:
        env: dict[Any, Any] = dict(zip(inner.constvars, jaxpr.consts, strict=True))
        env.update(zip(inner.invars, args, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else env[atom]

        for eqn in inner.eqns:
            if eqn.primitive.name == "dim_as_value":
                raise _SizeAsValue
            params = {key: _fixed(value, sizes) for key, value in eqn.params.items()}
            with eqn.ctx.manager:
                bound = eqn.primitive.get_bind_params(params)
                made = eqn.primitive.bind(*map(read, eqn.invars), **bound)
            results = made if eqn.primitive.multiple_results else [made]
            env.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in inner.outvars]

    avals = [jax.ShapeDtypeStruct(_fixed(a.shape, sizes), a.dtype) for a in jaxpr.in_avals]
    return jax.make_jaxpr(run)(*avals)


def _fixed(value: Any, sizes: Mapping[str, int]) -> Any:
    """A parameter of an equation, or a part of it."""
    if export.is_symbolic_dim(value):
        return int(value._evaluate(dict(sizes)))  # pyright: ignore
    if isinstance(value, tuple | list):
        parts = [_fixed(part, sizes) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, ClosedJaxpr):
        return at_sizes(value, sizes)
    if isinstance(value, Jaxpr) and not value.constvars:
        return at_sizes(ClosedJaxpr(value, ()), sizes).jaxpr
    return value
