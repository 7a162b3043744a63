"""The forward pass of `Recurrent` and its backward pass, which recomputes the cell."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_iree._trees import Tree
from recurrent_iree_runtime import ArgumentError

from ._cell import Cell
from ._runner import run


class Operands(NamedTuple):
    """Every array that a pass reads."""

    theta: Tree
    state0: Tree
    inputs: Tree
    accumulators: Tree
    limit: Any
    key: Any


class Results(NamedTuple):
    """What a forward pass computes; ``steps`` is None if every step ran."""

    acc_state: Tree
    final_state: Tree
    acc_extras: Tree
    accumulators: Tree
    steps: Any


@dataclass(frozen=True)
class Passes:
    """A `Cell` with the choices that do not depend on data."""

    cell: Cell
    length: int
    exact: bool
    return_extras: bool

    def differentiable(self) -> Callable[[Operands], Results]:
        """The forward pass as a function with the hand-written gradient."""
        function = jax.custom_vjp(partial(self.forward, keep_extras=self.return_extras))
        function.defvjp(self.forward_for_gradient, self.backward)
        return function

    def forward(self, operands: Operands, *, keep_extras: bool) -> Results:
        """``t = 0 … n-1``; keeps the states, and the extras only if something reads them."""
        theta, state0, inputs, totals, limit, key = operands

        def body(carry: tuple[Tree, Tree], x: Tree, t: Any) -> tuple[tuple[Tree, Tree], Tree]:
            state, totals = carry
            state, extras, more = self.cell.forward(theta, state, x, key_at(key, t))
            if totals is not None:
                totals = jax.tree.map(jnp.add, totals, more)
            return (state, totals), (state, extras if keep_extras else None)

        def proceed(t: Any, carry: tuple[Tree, Tree]) -> jax.Array:
            return ~self.cell.stop(t, theta, carry[0])

        (state, totals), (states, extras), steps = run(
            body,
            (state0, totals),
            inputs,
            self.length,
            limit=limit,
            proceed=proceed if self.cell.stop_fn else None,
            exact=self.exact,
            timed=key is not None,
        )
        return Results(states, state, extras, totals, steps)

    def forward_for_gradient(self, operands: Operands) -> tuple[Results, tuple]:
        """The forward pass and what the backward pass needs: states, and extras for cell_grad."""
        keep = self.return_extras or self.cell.cell_grad is not None
        results = self.forward(operands, keep_extras=keep)
        extras = results.acc_extras if self.cell.cell_grad else None
        if not self.return_extras:
            results = results._replace(acc_extras=None)
        return results, (operands, results.acc_state, extras, results.steps)

    def backward(self, saved: tuple, cotangents: Results) -> tuple[Operands]:
        """``t = n-1 … 0``: d += d_acc[t]; (dtheta_t, d, dinputs[t]) = cell_grad(…, d)."""
        operands, acc_state, _, _ = saved
        theta, state0, inputs, totals, _, _ = operands
        d_states = floats(cotangents.final_state, state0), floats(cotangents.acc_state, acc_state)
        d_totals = floats(cotangents.accumulators, totals)
        d, d_theta, dx = self._first_order(self._backward_loop(saved, d_states, d_totals))
        gradients = (fill(d_theta, theta), fill(d, state0), fill(dx, inputs))
        return (Operands(*gradients, fill(d_totals, totals), None, None),)

    def _backward_loop(self, saved: tuple, d_states: tuple, d_totals: list) -> tuple:
        """The loop that reads each state in place.

        Its derivative, the second of `Recurrent`, is that of a loop over a shifted copy of the
        states: reading at an index would there sum up a whole array at every step.
        """
        lean = jax.custom_jvp(partial(self._backward_steps, shifted=False))

        @lean.defjvp
        def _(primals: tuple, tangents: tuple) -> tuple:
            return jax.jvp(partial(self._backward_steps, shifted=True), primals, tangents)

        return lean(saved, d_states, d_totals)

    def _backward_steps(
        self, saved: tuple, d_states: tuple, d_totals: list, *, shifted: bool
    ) -> tuple:
        operands, acc_state, extras, steps = saved
        theta, state0, inputs, _, _, key = operands
        final, rows = d_states

        def body(carry: tuple[list, list], x: tuple, t: Any) -> tuple[tuple[list, list], list]:
            d, d_theta = carry
            x_t, state, extras_t, d_acc = x
            state = before(t) if states is None else state
            d = [a + b for a, b in zip(d, d_acc, strict=True)]
            arguments = (theta, state, x_t)
            if self.cell.cell_grad is None:
                parts = self._recomputed(arguments, d, d_totals, key_at(key, t))
            else:
                parts = self._by_cell_grad(arguments, extras_t, d, key_at(key, t))
            more, d, dx = parts
            return (d, [a + b for a, b in zip(d_theta, more, strict=True)]), dx

        def before(t: Any) -> Tree:
            def pick(first: jax.Array, rows: jax.Array) -> jax.Array:
                row = lax.dynamic_index_in_dim(rows, jnp.maximum(t - 1, 0), keepdims=False)
                return jnp.where(t == 0, first, row)

            return jax.tree.map(pick, state0, acc_state)

        states = None
        if shifted or self.length == 0:
            states = jax.tree.map(
                lambda first, rows: jnp.concatenate([first[None], rows])[:-1], state0, acc_state
            )
        (d, d_theta), dx, _ = run(
            body,
            (final, [jnp.zeros_like(w) for w in floats(theta)]),
            (inputs, states, extras, rows),
            self.length,
            limit=steps,
            exact=self.exact,
            reverse=True,
            timed=True,
        )
        return d, d_theta, dx

    def _recomputed(
        self, arguments: tuple[Tree, Tree, Tree], d: list, d_totals: list, key: Any
    ) -> list[list]:
        def local(*parts: list) -> tuple[list, list]:
            theta, state, x = (
                join(part, whole) for part, whole in zip(parts, arguments, strict=True)
            )
            state, _, more = self.cell.forward(theta, state, x, key)
            return floats(state), floats(more)

        _, pull = jax.vjp(local, *(floats(argument) for argument in arguments))
        return list(pull((d, d_totals)))

    def _by_cell_grad(
        self, arguments: tuple[Tree, Tree, Tree], extras: Tree, d: list, key: Any
    ) -> list[list]:
        state = arguments[1]
        d_state = join(d, jax.tree.map(jnp.zeros_like, state))
        return [floats(part) for part in self.cell.backward(*arguments, extras, d_state, key)]

    def _first_order(self, gradients: Tree) -> Tree:
        if self.cell.cell_grad is not None:
            return first_order_only("it has a `cell_grad`: leave it out", gradients)
        if self.exact:
            return first_order_only("use_tpu=True runs a `while` loop: use False", gradients)
        return gradients


def key_at(key: Any, t: Any) -> Any:
    """The RNG key of step ``t``, the same whenever that step is computed."""
    return None if key is None else jax.random.fold_in(key, t)


def floats(tree: Tree, like: Tree = None) -> list:
    """The leaves that can have a gradient, judged by ``like`` if given."""
    judges = jax.tree.leaves(tree if like is None else like)
    return [
        leaf
        for leaf, judge in zip(jax.tree.leaves(tree), judges, strict=True)
        if jnp.issubdtype(judge.dtype, jnp.inexact)
    ]


def join(parts: list, whole: Tree) -> Tree:
    """``whole`` with its float leaves replaced by ``parts``."""
    left = iter(parts)
    return jax.tree.map(
        lambda leaf: next(left) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, whole
    )


def fill(parts: list, whole: Tree) -> Tree:
    """``parts`` at the float leaves of ``whole``, None (no gradient) at the others."""
    left = iter(parts)
    return jax.tree.map(
        lambda leaf: next(left) if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, whole
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def first_order_only(reason: str, tree: Tree) -> Tree:
    """The identity; differentiating it is refused for ``reason``."""
    del reason
    return tree


def _refuse(reason: str, tree: Tree) -> tuple[Tree, None]:
    del tree
    raise ArgumentError(f"this `Recurrent` has no second derivative, because {reason}.")


def _no_gradient(reason: str, saved: None, cotangents: Tree) -> tuple[Tree]:
    del reason, saved
    return (cotangents,)


first_order_only.defvjp(_refuse, _no_gradient)
