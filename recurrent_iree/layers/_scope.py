"""The pure face: inside a scope, variables read and write values that the caller passed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
from jax.core import Tracer

from recurrent_iree_runtime import ArgumentError

if TYPE_CHECKING:
    from ._variable import Variable


@dataclass
class Scope:
    """Values of variables, losses and random keys of one pure call.

    ``values`` maps ``id(variable)`` to its value inside the call; assignments land here, so that
    no tracer reaches an object.
    """

    values: dict[int, Any]
    outer: Scope | None = None
    key: Any = None
    losses: list[Any] = field(default_factory=list)
    drawn: int = 0
    pure: bool = False

    def is_pure(self) -> bool:
        """Whether a `stateless_call` is running."""
        return self.pure or (self.outer is not None and self.outer.is_pure())

    def lookup(self, variable: Variable) -> Any:
        """The innermost value of ``variable``, or None if no scope holds one."""
        scope: Scope | None = self
        while scope is not None:
            if id(variable) in scope.values:
                return scope.values[id(variable)]
            scope = scope.outer
        return None

    def next_key(self) -> jax.Array | None:
        """A random key that no other draw of this call uses, or None if nobody gave one."""
        if self.key is None:
            return None if self.outer is None else self.outer.next_key()
        self.drawn += 1
        return jax.random.fold_in(self.key, self.drawn)


_current: ContextVar[Scope | None] = ContextVar("recurrent_iree_layers_scope", default=None)


def current_scope() -> Scope | None:
    """The innermost open scope, or None where objects own their values."""
    return _current.get()


@contextmanager
def isolated(where: str) -> Iterator[None]:
    """Run the body of a loop, in which no layer can store a state or leave a loss.

    Raises:
        ArgumentError: (a ValueError) a layer in the body tried to.
    """
    with open_scope({}) as scope:
        yield
    if scope.losses or scope.values:
        raise ArgumentError(
            f"{where} calls a layer that is stateful or has an activity_regularizer: neither can "
            "work inside a loop. Put them on the layer around it."
        )


@contextmanager
def open_scope(values: Mapping[Variable, Any], key: Any = None) -> Iterator[Scope]:
    """Run the body with ``values`` in place of the values that the variables own."""
    scope = Scope({id(variable): value for variable, value in values.items()}, _current.get(), key)
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def is_traced(tree: Any) -> bool:
    """Whether any leaf is being traced."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))
