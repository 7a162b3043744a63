"""Refuses functions that close over traced arrays, by the names of these arrays."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from jax.core import Tracer

from recurrent_iree_runtime import ArgumentError


def check_pure(
    function: Callable[..., Any], source: Callable[..., Any], argument: str, *examples: Any
) -> Any:
    """Trace ``function`` on the shapes of ``examples``; return the shapes of its results.

    ``source`` is the user's function that ``function`` calls, given as ``argument``.
    A concrete array that it closes over is a constant. A traced one would be a hidden input,
    whose gradient the backward pass of `Recurrent` could not give.
    """
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    hidden = [const for const in jaxpr.consts if isinstance(const, Tracer)]
    if hidden:
        names = ", ".join(_name(source, tracer) for tracer in hidden)
        raise ArgumentError(
            f"`{argument}` closes over traced arrays: {names}. Pass them in `theta`, `state0` or "
            "`inputs`, so that they get gradients."
        )
    return shapes


def _name(function: Callable[..., Any], tracer: Tracer) -> str:
    kind = f"{tracer.aval.str_short()}"  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in _variables(function, 3):
        for path, leaf in jax.tree_util.tree_flatten_with_path(value)[0]:
            if leaf is tracer:
                return f"`{name}{jax.tree_util.keystr(path)}` ({kind})"
    return f"one that is no variable of it ({kind})"


def _variables(function: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth == 0:
        return
    if isinstance(function, partial):
        yield from ((f"argument {i}", value) for i, value in enumerate(function.args))
        yield from function.keywords.items()
        yield from _variables(function.func, depth - 1)
    elif inspect.ismethod(function):
        yield from ((f"self.{name}", value) for name, value in vars(function.__self__).items())
        yield from _variables(function.__func__, depth - 1)
    elif inspect.isfunction(function):
        found = inspect.getclosurevars(function)
        for name, value in {**found.globals, **found.nonlocals}.items():
            yield name, value
            yield from _variables(value, depth - 1)
    elif hasattr(function, "__wrapped__"):
        yield from _variables(function.__wrapped__, depth - 1)
    elif callable(function) and hasattr(function, "__dict__"):
        yield from ((f"self.{name}", value) for name, value in vars(function).items())
