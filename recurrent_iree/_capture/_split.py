"""Splitting the body of a scan: what is hoisted before the loop, what stays, what is sunk after it.

An equation of the body has one of three levels: it depends on nothing that changes (0), on the
input of the step (1), or on the carry (2).

* Level 0 is computed once.
* Matrix products and convolutions of level 1 (input projections), and what follows from them
  without the carry, are computed for all steps at once.
* Matrix products that only the outputs need (output projections), and what follows from them, are
  computed for all steps at once after the loop.

Ops that only move data are not worth hoisting by themselves and stay with their users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Var

from ._jaxpr import live_equations

CONTRACTIONS = frozenset({"dot_general", "conv_general_dilated", "ragged_dot_general"})
MOVEMENTS = frozenset(
    {
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "expand_dims",
        "iota",
        "reshape",
        "rev",
        "slice",
        "split",
        "squeeze",
        "transpose",
    }
)
INVARIANT, STEP, CARRIED = 0, 1, 2

# What surely fits into the kernel of a single step, where there are no steps to share a product.
PLAIN = MOVEMENTS | {
    *("add", "div", "dot_general", "exp", "logistic", "max", "min", "mul", "neg", "select_n"),
    *("sub", "tanh"),
}


@dataclass(frozen=True)
class Split:
    """The equations of a scan body by where they run, in order."""

    once: list[JaxprEqn]
    before: list[JaxprEqn]
    loop: list[JaxprEqn]
    after: list[JaxprEqn]
    level: dict[Var, int]


def split_body(body: Jaxpr, num_consts: int, num_carry: int, length: Any) -> Split:
    """Split `body`, whose inputs are constants, carry and step inputs in this order.

    A loop of one step keeps its products: one kernel reads all weights as it likes them best.
    """
    equations = live_equations(body, body.outvars)
    level = _levels(body, equations, num_consts, num_carry)
    carry_out, step_out = body.outvars[:num_carry], body.outvars[num_carry:]

    after = _sunk(equations, level, carry_out)
    before = _hoisted(equations, level, step_out)
    if length == 1 and all(equations[i].primitive.name in PLAIN for i in before | after):
        before, after = set(), set()
    once = {
        i
        for i, eqn in enumerate(equations)
        if _level(eqn, level) == INVARIANT and eqn.primitive.name not in MOVEMENTS
    }
    needed = _ancestors(equations, before | once)
    once |= {i for i in needed if _level(equations[i], level) == INVARIANT}
    # Cheap inputs of the sunk part that the carry does not touch are computed again there.
    again = {i for i in _ancestors(equations, after) if _level(equations[i], level) != CARRIED}
    loop = set(range(len(equations))) - once - before - after

    def pick(chosen: set[int]) -> list[JaxprEqn]:
        return [equations[i] for i in sorted(chosen)]

    return Split(
        once=pick(once),
        before=pick(before),
        loop=pick(loop),
        after=pick(after | (again - before - once)),
        level=level,
    )


def variables(atoms: Iterable[object]) -> list[Var]:
    """The variables among `atoms`, each once, in order."""
    return list(dict.fromkeys(a for a in atoms if isinstance(a, Var)))


def _levels(
    body: Jaxpr, equations: list[JaxprEqn], num_consts: int, num_carry: int
) -> dict[Var, int]:
    level = {var: INVARIANT for var in [*body.constvars, *body.invars[:num_consts]]}
    level.update({v: CARRIED for v in body.invars[num_consts : num_consts + num_carry]})
    level.update({v: STEP for v in body.invars[num_consts + num_carry :]})
    for eqn in equations:
        value = CARRIED if eqn.effects else _level(eqn, level)
        level.update({var: value for var in eqn.outvars})
    return level


def _level(eqn: JaxprEqn, level: dict[Var, int]) -> int:
    if eqn.outvars and eqn.outvars[0] in level:
        return level[eqn.outvars[0]]
    return max((level[var] for var in variables(eqn.invars)), default=INVARIANT)


def _ancestors(equations: list[JaxprEqn], seeds: set[int]) -> set[int]:
    """`seeds` and every equation that they need."""
    found = set(seeds)
    needed: set[Var] = set()
    for i in range(len(equations) - 1, -1, -1):
        if i in found or any(var in needed for var in equations[i].outvars):
            found.add(i)
            needed.update(variables(equations[i].invars))
    return found


def _descendants(equations: list[JaxprEqn], seeds: set[int], allowed: set[int]) -> set[int]:
    """`seeds` and every allowed equation that uses a result of them."""
    found = set(seeds)
    made: set[Var] = set()
    for i, eqn in enumerate(equations):
        if i in found or (i in allowed and any(v in made for v in variables(eqn.invars))):
            found.add(i)
            made.update(eqn.outvars)
    return found


def _hoisted(
    equations: list[JaxprEqn], level: dict[Var, int], step_out: Sequence[object]
) -> set[int]:
    step_level = {i for i, eqn in enumerate(equations) if _level(eqn, level) == STEP}
    products = {i for i in step_level if equations[i].primitive.name in CONTRACTIONS}
    direct = {v for v in variables(step_out) if level[v] == STEP}
    kept = _ancestors(
        equations, {i for i in step_level if any(v in direct for v in equations[i].outvars)}
    )
    chosen = _descendants(equations, products, step_level)
    chosen |= _ancestors(equations, chosen) & step_level
    for i in sorted(chosen, reverse=True):
        results = set(equations[i].outvars)
        used = any(results & set(variables(equations[j].invars)) for j in chosen if j > i)
        if equations[i].primitive.name in MOVEMENTS and not used:
            chosen.discard(i)
    return chosen | (kept & step_level)


def _sunk(
    equations: list[JaxprEqn], level: dict[Var, int], carry_out: Sequence[object]
) -> set[int]:
    carried = set(variables(carry_out))
    for_carry = _ancestors(
        equations,
        {i for i, eqn in enumerate(equations) if eqn.effects or carried & set(eqn.outvars)},
    )
    free = {
        i for i, eqn in enumerate(equations) if _level(eqn, level) == CARRIED and i not in for_carry
    }
    products = {i for i in free if equations[i].primitive.name in CONTRACTIONS}
    return _descendants(equations, products, free)
