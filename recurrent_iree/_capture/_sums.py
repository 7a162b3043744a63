"""The sum of a value over all steps of a loop, from values that are stacked over the steps.

Whatever is linear in the value is applied to the sum instead of at every step: movements, scaling
by what no step changes, products with weights. A product of two values that change becomes one
product that also contracts the time; that saves writing all its results. What remains is stacked
and summed.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from ._jaxpr import bind

_LINEAR = frozenset(
    "broadcast_in_dim copy expand_dims neg reshape rev slice squeeze transpose".split()
)


class Mask(NamedTuple):
    """A step counts if the scalar `variable` is `wanted`."""

    variable: Var
    wanted: bool


class Term(NamedTuple):
    """A summand (subtracted if `negative`) of the steps in which all `masks` hold."""

    atom: Any
    negative: bool
    masks: tuple[Mask, ...]


@dataclass(frozen=True)
class LoopValues:
    """What is known after the loop: values of all steps, values that no step changes."""

    length: int
    stacked: dict[Var, Any]
    single: dict[Var, Any]


Value = Callable[[LoopValues], Any]


@dataclass
class Sum:
    """A sum over all steps, to be computed after the loop.

    Attributes:
        value: computes it.
        leaves: the variables that it needs of every step.
        singles: the variables that it needs and no step changes.
        operands: those of `leaves` that are operands of a product over all steps.
        contracts: whether it has products or reductions that are cheaper after the loop.
    """

    value: Value
    leaves: list[Var] = field(default_factory=list)
    singles: list[Var] = field(default_factory=list)
    operands: set[Var] = field(default_factory=set)
    contracts: bool = False


def plan_sum(
    jaxpr: Jaxpr,
    varying: set[Var],
    terms: Sequence[Term],
    aval: Any,
    stacked: set[Var],
) -> Sum:
    """How to compute the sum of `terms` over all steps of the body `jaxpr`.

    `varying` are the variables that change from step to step; `aval` is the shape and dtype of
    the sum. Those of `stacked` are stacked anyway, so they are summed as they are.
    """
    planner = _Planner(jaxpr, varying, stacked)
    parts = [(planner.total(t.atom, aval, t.masks), t.negative) for t in terms]

    def value(known: LoopValues) -> Any:
        signed = [-part(known) if negative else part(known) for part, negative in parts]
        return functools.reduce(operator.add, signed)

    return Sum(
        value,
        list(planner.leaves),
        list(planner.singles),
        planner.operands,
        planner.contracts,
    )


class _Planner:
    def __init__(self, jaxpr: Jaxpr, varying: set[Var], stacked: set[Var]) -> None:
        self.makers = {v: e for e in jaxpr.eqns for v in e.outvars}
        self.varying = varying
        self.stacked = stacked
        self.operands: set[Var] = set()
        self.leaves: dict[Var, None] = {}
        self.singles: dict[Var, None] = {}
        self.contracts = False

    def total(self, atom: Any, aval: Any, masks: tuple[Mask, ...]) -> Value:
        """The sum of `atom`, whose shape is that of `aval`, in the dtype of `aval`."""
        if not self.changes(atom):
            return self._repeated(atom, aval, masks)
        eqn = None if atom in self.stacked else self.makers.get(atom)
        rule = None if eqn is None else self._rule(eqn, atom, masks)
        if rule is None:
            return self._summed(atom, aval.dtype, masks)
        return lambda known: rule(known).astype(aval.dtype)

    def changes(self, atom: Any) -> bool:
        return isinstance(atom, Var) and atom in self.varying

    def _rule(self, eqn: JaxprEqn, atom: Var, masks: tuple[Mask, ...]) -> Value | None:
        """The sum of the result of `eqn` by the sums of what it is made of."""
        name, inputs = eqn.primitive.name, eqn.invars
        if name in ("add", "add_any", "sub"):
            one, other = (self.total(a, a.aval, masks) for a in inputs)
            if name == "sub":
                return lambda known: one(known) - other(known)
            return lambda known: one(known) + other(known)
        if name in _LINEAR or name == "reduce_sum":
            self.contracts |= name == "reduce_sum"
            return self._transposed_product(eqn, masks) or self._of_all(eqn, masks)
        if name == "concatenate":
            return self._of_all(eqn, masks)
        if name == "split":
            inner = self._of_all(eqn, masks, whole=True)
            return lambda known: inner(known)[eqn.outvars.index(atom)]
        if name == "pad" and isinstance(inputs[1], Literal) and inputs[1].val == 0:
            return self._of_one(eqn, 0, masks)
        if name in ("mul", "div"):
            return self._scaled(eqn, masks)
        if name == "dot_general" and jnp.issubdtype(atom.aval.dtype, jnp.inexact):  # pyright: ignore
            return self._product(eqn, masks)
        return self._widened(eqn, masks) if name == "convert_element_type" else None

    def _of_all(self, eqn: JaxprEqn, masks: tuple[Mask, ...], whole: bool = False) -> Value:
        parts = [self.total(a, a.aval, masks) for a in eqn.invars]

        def value(known: LoopValues) -> Any:
            results = bind(eqn, [part(known) for part in parts])
            return results if whole else results[0]

        return value

    def _of_one(self, eqn: JaxprEqn, side: int, masks: tuple[Mask, ...]) -> Value:
        """`eqn` is linear in the input number `side`, and the other one does not change."""
        part = self.total(eqn.invars[side], eqn.invars[side].aval, masks)
        other = self._single(eqn.invars[1 - side])

        def value(known: LoopValues) -> Any:
            values = [part(known), other(known)]
            return bind(eqn, values if side == 0 else values[::-1])[0]

        return value

    def _scaled(self, eqn: JaxprEqn, masks: tuple[Mask, ...]) -> Value | None:
        """A product or quotient by what does not change."""
        left, right = eqn.invars
        if not self.changes(right):
            part, factor = self.total(left, left.aval, masks), self._single(right)
            if eqn.primitive.name == "div":
                return lambda known: part(known) / factor(known)
        elif not self.changes(left) and eqn.primitive.name == "mul":
            part, factor = self.total(right, right.aval, masks), self._single(left)
        else:
            return None
        return lambda known: part(known) * factor(known)

    def _transposed_product(self, eqn: JaxprEqn, masks: tuple[Mask, ...]) -> Value | None:
        """``(a.T @ b).T`` is made as ``b.T @ a``, without the transposition."""
        if eqn.primitive.name != "transpose" or eqn.params["permutation"] != (1, 0):
            return None
        inner = self.makers.get(eqn.invars[0])  # pyright: ignore
        if inner is None or inner.primitive.name != "dot_general":
            return None
        (_, (batch, _)), both = inner.params["dimension_numbers"], map(self.changes, inner.invars)
        return self._contraction(inner, masks, swap=True) if all(both) and not batch else None

    def _product(self, eqn: JaxprEqn, masks: tuple[Mask, ...]) -> Value:
        self.contracts = True
        changing = [self.changes(a) for a in eqn.invars]
        if not all(changing):
            return self._of_one(eqn, changing.index(True), masks)
        return self._contraction(eqn, masks, swap=False)

    def _contraction(self, eqn: JaxprEqn, masks: tuple[Mask, ...], swap: bool) -> Value:
        """The product of the stacked operands, contracted over the steps as well."""
        self.contracts = True
        self.operands.update(a for a in eqn.invars if isinstance(a, Var))
        sides = (1, 0) if swap else (0, 1)
        operands = [self._stacked(eqn.invars[side], masks) for side in sides]
        contracting, batch = eqn.params["dimension_numbers"]
        result = eqn.outvars[0].aval
        wide = jnp.promote_types(result.dtype, jnp.float32)  # pyright: ignore

        def value(known: LoopValues) -> Any:
            arrays = [operand(known) for operand in operands]
            axes = [tuple(a + 1 for a in contracting[side]) for side in sides]
            if not batch[0] and all(a == tuple(range(1, 1 + len(a))) for a in axes):
                count = len(axes[0]) + 1
                arrays = [a.reshape(-1, *a.shape[count:]) for a in arrays]
                numbers = (((0,), (0,)), ((), ()))
            else:
                one, other = (tuple(a + 1 for a in batch[side]) for side in sides)
                numbers = (((0, *axes[0]), (0, *axes[1])), (one, other))
            left, right = arrays
            return lax.dot_general(
                left, right, numbers, eqn.params["precision"], preferred_element_type=wide
            )

        return value

    def _widened(self, eqn: JaxprEqn, masks: tuple[Mask, ...]) -> Value | None:
        """A product in low precision that is converted is summed in the wider dtype."""
        source, target = eqn.invars[0].aval.dtype, eqn.params["new_dtype"]  # pyright: ignore
        inner = self.makers.get(eqn.invars[0])  # pyright: ignore
        if inner is None or inner.primitive.name != "dot_general":
            return None
        if jnp.promote_types(source, target) != target or not all(map(self.changes, inner.invars)):
            return None
        return self._product(inner, masks)

    def _summed(self, atom: Var, dtype: Any, masks: tuple[Mask, ...]) -> Value:
        stacked = self._stacked(atom, masks)
        return lambda known: stacked(known).astype(dtype).sum(0)

    def _stacked(self, atom: Any, masks: tuple[Mask, ...]) -> Value:
        """`atom` at every step, zero where a mask does not hold."""
        self.leaves[atom] = None
        holds = self._holds(masks)

        def value(known: LoopValues) -> Any:
            array, chosen = known.stacked[atom], holds(known)
            if chosen is None:
                return array
            chosen = chosen.reshape(-1, *[1] * (array.ndim - 1))
            return jnp.where(chosen, array, jnp.zeros_like(array))

        return value

    def _repeated(self, atom: Any, aval: Any, masks: tuple[Mask, ...]) -> Value:
        """The sum of what is the same in every step."""
        single, holds = self._single(atom), self._holds(masks)

        def value(known: LoopValues) -> Any:
            one, chosen = jnp.asarray(single(known), aval.dtype), holds(known)
            if chosen is None:
                return one * jnp.asarray(known.length, aval.dtype)
            count = chosen.sum().astype(aval.dtype)
            return jnp.where(count > 0, one * count, jnp.zeros_like(one))

        return value

    def _single(self, atom: Any) -> Value:
        if isinstance(atom, Literal):
            return lambda known: jnp.asarray(atom.val, atom.aval.dtype)  # pyright: ignore
        self.singles[atom] = None
        return lambda known: known.single[atom]

    def _holds(self, masks: tuple[Mask, ...]) -> Callable[[LoopValues], Any]:
        """Of each step whether all masks hold; ``None`` if there are none."""
        for mask in masks:
            (self.leaves if self.changes(mask.variable) else self.singles)[mask.variable] = None

        def value(known: LoopValues) -> Any:
            result = None
            for variable, wanted in masks:
                found = known.stacked.get(variable, known.single.get(variable))
                one = jnp.broadcast_to(found == wanted, (known.length,))
                result = one if result is None else result & one
            return result

        return value
