"""Compiled calls of a layer on arrays, reused while nothing that they depend on has changed."""

import inspect
from collections.abc import Callable, Hashable
from functools import partial
from types import MethodType
from typing import Any

import jax

from ._scope import open_scope
from ._variable import Variable
from ._weights import BOOKKEEPING

MAX_PROGRAMS = 32
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


class _Unknown(Exception):
    """The value may change without being noticed."""


class _Same:
    """Equal only to another wrapper of the very same object, which it keeps alive."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(value: Any, known: frozenset[int]) -> Hashable | None:
    """A key that changes whenever the value does, or None if that cannot be told.

    Variables whose id is in ``known`` count as arguments and not as part of the value.
    """
    try:
        return _print(value, known, ())
    except _Unknown:
        return None


def run_compiled(
    programs: dict[Any, Any], key: Hashable, function: Any, variables: list[Variable], args: Any
) -> Any:
    """``function(*args)`` under `jax.jit`, with the variables as arguments."""
    program = programs.get(key)
    if program is None:
        if len(programs) >= MAX_PROGRAMS:
            programs.clear()
        program = programs[key] = _compile(function, variables)
    return program([variable.value for variable in variables], args)


def _compile(function: Any, variables: list[Variable]) -> Callable[..., Any]:
    def pure(values: list[Any], args: Any) -> Any:
        with open_scope(dict(zip(variables, values, strict=True))):
            return function(*args)

    return jax.jit(pure)


def _print(value: Any, known: frozenset[int], path: tuple[int, ...]) -> Hashable:
    if isinstance(value, _PLAIN) or isinstance(value, type):
        return type(value), value
    if isinstance(value, Variable):
        return "variable" if id(value) in known else _Same(value.value)
    if isinstance(value, jax.Array):
        return _Same(value)
    if id(value) in path:
        return "cycle", path.index(id(value))
    path = (*path, id(value))
    if isinstance(value, list | tuple):
        return type(value), tuple(_print(item, known, path) for item in value)
    if isinstance(value, dict):
        items = [(key, item) for key, item in value.items() if key not in BOOKKEEPING]
        return dict, tuple((_print(k, known, path), _print(v, known, path)) for k, v in items)
    if isinstance(value, partial):
        return partial, _print((value.func, value.args, value.keywords), known, path)
    if isinstance(value, MethodType):
        return MethodType, _Same(value.__func__), _print(value.__self__, known, path)
    if callable(value) and hasattr(value, "__name__"):
        return _Same(value)
    slots = any(vars(cls).get("__slots__") for cls in inspect.getmro(type(value)))
    if hasattr(value, "__dict__") and not slots:
        return type(value), _print(vars(value), known, path)
    raise _Unknown
