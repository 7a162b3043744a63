"""The user's cell functions, called and checked in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import default_registry

from recurrent_iree._trees import Tree, check_like, repack, show_leaf
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


@dataclass(frozen=True)
class Cell:
    """``cell_fn``, ``cell_grad`` and ``stop_fn`` with the shapes they must keep to."""

    cell_fn: Callable[..., Any]
    cell_grad: Callable[..., Any] | None
    stop_fn: Callable[..., Any] | None
    state: Tree
    accumulators: Tree

    def forward(self, theta: Tree, state: Tree, x: Tree, key: Any) -> tuple[Tree, Tree, Tree]:
        """(new state, extras, increments of the accumulators) of one step."""
        result = self.cell_fn(theta, state, x, **({} if key is None else {"rng": key}))
        names = "(state1, extras)"
        names = names if self.accumulators is None else "(state1, extras, increments)"
        count = names.count(",") + 1
        if not isinstance(result, list | tuple) or len(result) != count:
            raise ArgumentTypeError(
                f"`cell_fn` must return {count} values {names}, got {_describe(result)}."
            )
        new, extras, *rest = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), part)
            for part in result
        )
        check_like(new, self.state, "`cell_fn` returned a state", "`state0`")
        if not rest:
            return repack(new, self.state), extras, None
        check_like(rest[0], self.accumulators, "`cell_fn` returned increments", "`accumulators`")
        return repack(new, self.state), extras, repack(rest[0], self.accumulators)

    def backward(
        self, theta: Tree, state: Tree, x: Tree, extras: Tree, d: Tree, key: Any
    ) -> tuple[Tree, Tree, Tree]:
        """``cell_grad`` of one step: (dtheta, dstate0, dinputs), a None counting as zeros."""
        assert self.cell_grad is not None
        more = {} if key is None else {"rng": key}
        result = self.cell_grad(theta, state, x, extras, d, **more)
        if not isinstance(result, list | tuple) or len(result) != 3:
            raise ArgumentTypeError(
                "`cell_grad` must return 3 values (dtheta, dstate0, dinputs), got "
                f"{_describe(result)}."
            )
        return (
            _fill(result[0], theta, "dtheta"),
            _fill(result[1], state, "dstate0"),
            _fill(result[2], x, "dinputs"),
        )

    def stop(self, t: Any, theta: Tree, state: Tree) -> jax.Array:
        """Whether ``stop_fn`` ends the loop before step ``t``."""
        assert self.stop_fn is not None
        stop = jnp.asarray(self.stop_fn(t, theta, state))
        if stop.shape != () or stop.dtype != jnp.bool_:
            raise ArgumentError(
                f"`stop_fn` must return one bool, got {show_leaf(stop)}. Reduce it with jnp.all "
                "or jnp.any."
            )
        return stop


def _fill(got: Any, like: Tree, name: str) -> Tree:
    if got is None:
        return jax.tree.map(jnp.zeros_like, like)
    children = default_registry.flatten_one_level(like)
    if children is None:
        return _leaf(got, like, name)
    parts = default_registry.flatten_one_level(got)
    inner, keys = list(children[0]), children[1]
    plain = isinstance(like, list | tuple) and isinstance(got, list | tuple)
    if parts is None or len(list(parts[0])) != len(inner) or not (plain or parts[1] == keys):
        raise ArgumentError(
            f"`cell_grad` returned {name} with another structure than its argument: got "
            f"{_describe(got)}, expected {_describe(like)}."
        )
    filled = [
        _fill(part, child, f"{name}[{index}]")
        for index, (part, child) in enumerate(zip(parts[0], inner, strict=True))
    ]
    structure = jax.tree.structure(like, is_leaf=lambda node: node is not like)
    return jax.tree.unflatten(structure, filled)


def _leaf(got: Any, like: jax.Array, name: str) -> jax.Array:
    got = jnp.asarray(got)
    if got.shape != like.shape:
        raise ArgumentError(
            f"`cell_grad` returned {name} of shape {got.shape}, expected {like.shape}: a gradient "
            "has the shape of its argument."
        )
    if not jnp.issubdtype(like.dtype, jnp.inexact):
        return jnp.zeros_like(like)
    if got.dtype != like.dtype:
        raise ArgumentError(
            f"`cell_grad` returned {name} as {show_leaf(got)}, expected {show_leaf(like)}."
        )
    return got


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict with the keys {sorted(map(str, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
