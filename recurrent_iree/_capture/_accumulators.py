"""Accumulators leave the loop: ``a = a + f(step)`` becomes one sum over all steps after it.

The transpose of a loop adds the gradient of each weight to a carry, at every step: a product of
the size of the weight, of which nothing else in the loop reads anything. After the loop the same
is one product that also contracts the time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from ._jaxpr import dependent_variables, live_equations, run_equations
from ._sums import LoopValues, Mask, Sum, Term, plan_sum

_ADDITIONS = frozenset({"add", "add_any"})


@dataclass(frozen=True)
class Accumulator:
    """The carry number `index`, and the sum that is added to it."""

    index: int
    total: Sum


@dataclass(frozen=True)
class WithoutAccumulators:
    """A scan whose accumulators have left.

    Attributes:
        body: what is left; its step outputs end with the values of `leaves`.
        kept: the numbers of the carries that are left.
        accumulators: those that have left.
        leaves: variables of the old body that the sums need of every step.
    """

    body: ClosedJaxpr
    kept: list[int]
    accumulators: list[Accumulator]
    leaves: list[Var]
    old: ClosedJaxpr

    def results(
        self,
        values: Sequence[Any],
        num_consts: int,
        num_carry: int,
        length: int,
        carry: Sequence[Any],
        ys: Sequence[Any],
    ) -> list[Any]:
        """The results of the old scan for its inputs `values` from those of `body`."""
        if not self.accumulators:
            return [*carry, *ys]
        own = len(ys) - len(self.leaves)
        stacked = dict(zip(self.leaves, ys[own:], strict=True))
        known = LoopValues(length, stacked, self._single(values[:num_consts], num_consts))
        last: dict[int, Any] = dict(zip(self.kept, carry, strict=True))
        for one in self.accumulators:
            start = values[num_consts + one.index]
            last[one.index] = start + one.total.value(known)
        return [*(last[i] for i in range(num_carry)), *ys[:own]]

    def _single(self, consts: Sequence[Any], num_consts: int) -> dict[Var, Any]:
        """The values that the sums need and that no step changes."""
        jaxpr = self.old.jaxpr
        wanted = list(dict.fromkeys(v for a in self.accumulators for v in a.total.singles))
        inputs = [*jaxpr.constvars, *jaxpr.invars[:num_consts]]
        run = run_equations(live_equations(jaxpr, wanted), inputs, wanted)
        return dict(zip(wanted, run(*self.old.consts, *consts), strict=True))


def take_out(body: ClosedJaxpr, num_consts: int, num_carry: int) -> WithoutAccumulators:
    """`body` without the accumulators whose sum is cheaper after the loop."""
    jaxpr = body.jaxpr
    everything = list(range(num_carry))
    found = _find(jaxpr, num_consts, num_carry)
    if not found:
        return WithoutAccumulators(body, everything, [], [], body)
    gone = {a.index for a in found}
    kept = [i for i in everything if i not in gone]
    leaves = list(dict.fromkeys(v for a in found for v in a.total.leaves))
    carry_vars = jaxpr.invars[num_consts : num_consts + num_carry]
    inputs = [
        *jaxpr.invars[:num_consts],
        *(carry_vars[i] for i in kept),
        *jaxpr.invars[num_consts + num_carry :],
    ]
    outputs = [*(jaxpr.outvars[i] for i in kept), *jaxpr.outvars[num_carry:], *leaves]
    wanted = [a for a in outputs if isinstance(a, Var)]
    run = run_equations(live_equations(jaxpr, wanted), [*jaxpr.constvars, *inputs], wanted)

    def rest(*values: Any) -> list[Any]:
        made = dict(zip(wanted, run(*body.consts, *values), strict=True))
        return [_constant(a) if isinstance(a, Literal) else made[a] for a in outputs]

    smaller = jax.make_jaxpr(rest)(*(v.aval for v in inputs))
    return WithoutAccumulators(smaller, kept, found, leaves, body)


def _constant(atom: Literal) -> Any:
    return jnp.asarray(atom.val, atom.aval.dtype)  # pyright: ignore


def _find(jaxpr: Jaxpr, num_consts: int, num_carry: int) -> list[Accumulator]:
    jaxpr = jaxpr.replace(eqns=live_equations(jaxpr, jaxpr.outvars))
    varying = dependent_variables(jaxpr, jaxpr.invars[num_consts:])
    stacked = {a for a in jaxpr.outvars[num_carry:] if isinstance(a, Var)}
    stacked |= set(jaxpr.invars[num_consts + num_carry :])
    budget = _sizes([*jaxpr.invars[num_consts:], *jaxpr.outvars[num_carry:]])
    candidates = []
    for index, carry in enumerate(jaxpr.invars[num_consts : num_consts + num_carry]):
        terms = _terms(jaxpr, carry, index)
        if terms and jnp.issubdtype(carry.aval.dtype, jnp.inexact):  # pyright: ignore
            candidates.append((index, terms, carry.aval))
    first = [plan_sum(jaxpr, varying, terms, aval, stacked) for _, terms, aval in candidates]
    stacked |= {v for total in first for v in total.operands}
    found = []
    for index, terms, aval in candidates:
        total = plan_sum(jaxpr, varying, terms, aval, stacked)
        cheap = total.contracts and _sizes(total.leaves) <= 4 * budget
        if cheap or set(total.leaves) <= stacked:
            found.append(Accumulator(index, total))
    return found


def _sizes(atoms: Iterable[Any]) -> int:
    return sum(math.prod(a.aval.shape) for a in atoms)


def _terms(jaxpr: Jaxpr, carry: Var, index: int) -> list[Term] | None:
    """The terms that are added to `carry` before it comes out as carry `index`.

    ``None`` if it is no accumulator: something else reads it, or it is changed otherwise.
    """
    makers = {v: e for e in jaxpr.eqns for v in e.outvars}
    uses = Counter(a for e in jaxpr.eqns for a in e.invars if isinstance(a, Var))
    uses.update(a for a in jaxpr.outvars if isinstance(a, Var))
    own = dependent_variables(jaxpr, [carry])
    terms: list[Term] = []
    masks: tuple[Mask, ...] = ()
    value = jaxpr.outvars[index]
    while value is not carry:
        if not isinstance(value, Var) or value not in own or uses[value] != 1:
            return None
        eqn = makers[value]
        inside = [isinstance(a, Var) and a in own for a in eqn.invars]
        if eqn.primitive.name in _ADDITIONS and sum(inside) == 1:
            terms.append(Term(eqn.invars[1 - inside.index(True)], False, masks))
            value = eqn.invars[inside.index(True)]
        elif eqn.primitive.name == "sub" and inside == [True, False]:
            terms.append(Term(eqn.invars[1], True, masks))
            value = eqn.invars[0]
        else:
            guard = _guard(eqn, carry)
            if guard is None or guard[1].variable in own:
                return None
            value = guard[0]
            masks = (*masks, guard[1])
    return terms if terms and uses[carry] == 1 + len(masks) else None


def _guard(eqn: JaxprEqn, carry: Var) -> tuple[Any, Mask] | None:
    """Of ``where(p, value, carry)`` with a scalar ``p``: the value, and when it is taken."""
    if eqn.primitive.name != "select_n" or len(eqn.invars) != 3:
        return None
    which, no, yes = eqn.invars
    if not isinstance(which, Var) or which.aval.shape != () or which.aval.dtype != bool:  # pyright: ignore
        return None
    if (no is carry) == (yes is carry):
        return None
    return (yes, Mask(which, True)) if no is carry else (no, Mask(which, False))
