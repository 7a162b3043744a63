"""Rewriting the products of a loop body so that more of them can leave the loop.

``[x, h] @ W`` becomes ``x @ W[:n] + h @ W[n:]``, of which the first half does not need the carry;
and several products of one value with weights become one product with the weights side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from ._jaxpr import bind, evaluate, flatten_calls, origins


def flatten_body(
    jaxpr: ClosedJaxpr, num_consts: int, num_carry: int, *, by_state: bool = False
) -> ClosedJaxpr:
    """`jaxpr` with every call inlined and products of concatenations taken apart.

    They stay whole unless some parts need the carry and some do not: only then can a part leave.
    With `by_state` it is enough that parts need different states, which may become two loops.
    """
    jaxpr = flatten_calls(jaxpr)
    carry = jaxpr.jaxpr.invars[num_consts : num_consts + num_carry]
    needs = origins(jaxpr.jaxpr.eqns, carry)

    def kind(atom: Any) -> Any:
        found = needs.get(atom) if isinstance(atom, Var) else None
        return found if by_state and found else bool(found)

    def flat(*args: Any) -> list[Any]:
        pieces: dict[int, tuple[Any, list[Any], int]] = {}

        def concatenate(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
            (result,) = bind(eqn, values)
            if len({kind(a) for a in eqn.invars}) > 1:
                pieces[id(result)] = (result, values, eqn.params["dimension"])
            return [result]

        def dot_general(eqn: JaxprEqn, values: list[Any]) -> Sequence[Any]:
            return _take_apart(eqn, values, pieces)

        return evaluate(jaxpr, args, {"concatenate": concatenate, "dot_general": dot_general})

    return jax.make_jaxpr(flat)(*jaxpr.in_avals)


def _take_apart(
    eqn: JaxprEqn, values: list[Any], pieces: dict[int, tuple[Any, list[Any], int]]
) -> Sequence[Any]:
    contracting, batch = eqn.params["dimension_numbers"]
    for side in (0, 1):
        found = pieces.get(id(values[side]))
        if found is None or batch != ((), ()) or tuple(contracting[side]) != (found[2],):
            continue
        return [_sum_of_products(eqn, values, side, found[1], contracting[1 - side][0])]
    return bind(eqn, values)


def _sum_of_products(
    eqn: JaxprEqn, values: list[Any], side: int, parts: list[Any], other_axis: int
) -> Any:
    own_axis = eqn.params["dimension_numbers"][0][side][0]
    total, start = None, 0
    for part in parts:
        stop = start + part.shape[own_axis]
        rest = lax.slice_in_dim(values[1 - side], start, stop, axis=other_axis)
        pair = [part, rest] if side == 0 else [rest, part]
        (product,) = bind(eqn, pair)
        total = product if total is None else total + product
        start = stop
    return total


def run_merged(
    equations: Sequence[JaxprEqn], inputs: Sequence[Var], outputs: Sequence[Var]
) -> Callable[..., tuple[Any, ...]]:
    """As `run_equations`, but products of one value with several weights are one product."""
    groups = _groups(equations, set(inputs))

    def run(*values: Any) -> tuple[Any, ...]:
        env: dict[Any, Any] = dict(zip(inputs, values, strict=True))
        for eqn in equations:
            if eqn.outvars[0] in env:
                continue
            args = [a.val if isinstance(a, Literal) else env[a] for a in eqn.invars]
            group = groups.get(id(eqn), [])
            if len(group) > 1:
                env.update(_one_product(group, args[0], env))
            else:
                env.update(zip(eqn.outvars, bind(eqn, args), strict=True))
        return tuple(env[var] for var in outputs)

    return run


def _groups(equations: Sequence[JaxprEqn], known: set[Var]) -> dict[int, list[JaxprEqn]]:
    """For each product of a value with a known matrix, the products with the same value."""
    found: dict[tuple[Any, ...], list[JaxprEqn]] = {}
    for eqn in equations:
        if eqn.primitive.name != "dot_general" or not _is_plain(eqn, known):
            continue
        settings = (str(eqn.params["precision"]), str(eqn.params["preferred_element_type"]))
        dtype = eqn.invars[1].aval.dtype  # pyright: ignore
        key = (eqn.invars[0], str(eqn.params["dimension_numbers"]), *settings, dtype)
        found.setdefault(key, []).append(eqn)
    return {id(eqn): group for group in found.values() for eqn in group}


def _is_plain(eqn: JaxprEqn, known: set[Var]) -> bool:
    (left, right), batch = eqn.params["dimension_numbers"]
    matrix = eqn.invars[1]
    return (
        batch == ((), ())
        and len(left) == len(right) == 1
        and isinstance(matrix, Var)
        and matrix in known
        and isinstance(eqn.invars[0], Var)
        and len(matrix.aval.shape) == 2  # pyright: ignore
    )


def _one_product(group: list[JaxprEqn], value: Any, env: dict[Any, Any]) -> dict[Var, Any]:
    ((_, right), _) = group[0].params["dimension_numbers"]
    free = 1 - right[0]
    matrices = [env[eqn.invars[1]] for eqn in group]
    (product,) = bind(group[0], [value, jnp.concatenate(matrices, axis=free)])
    results, start = {}, 0
    for eqn, matrix in zip(group, matrices, strict=True):
        stop = start + matrix.shape[free]
        results[eqn.outvars[0]] = lax.slice_in_dim(product, start, stop, axis=product.ndim - 1)
        start = stop
    return results
