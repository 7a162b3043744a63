"""What the carries of a loop need of each other, in one step and in any number of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Var

from recurrent_iree_compiler import kernel_multiplies

from ._jaxpr import dependent_variables, live_equations, origins
from ._pieces import size_in_bytes
from ._split import variables


class States:
    """What the carries of a loop need of each other."""

    def __init__(self, body: ClosedJaxpr, num_consts: int, num_carry: int) -> None:
        self.body = body
        jaxpr = body.jaxpr
        self.consts = jaxpr.invars[:num_consts]
        self.carries = jaxpr.invars[num_consts : num_consts + num_carry]
        self.xs = jaxpr.invars[num_consts + num_carry :]
        self.carry_out, self.ys = jaxpr.outvars[:num_carry], jaxpr.outvars[num_carry:]
        self.equations = live_equations(jaxpr, jaxpr.outvars)
        self._levels: dict[int, int] = {}
        self._leaving: dict[int, int] = {}

    @cached_property
    def needs(self) -> dict[Var, frozenset[int]]:
        """The carries that each variable is computed from, in the same step."""
        return origins(self.equations, self.carries)

    def of(self, atoms: Iterable[Any]) -> frozenset[int]:
        """The carries that `atoms` are computed from, in the same step."""
        none: frozenset[int] = frozenset()
        return none.union(*(self.needs.get(v, none) for v in variables(atoms)))

    @cached_property
    def reach(self) -> list[frozenset[int]]:
        """The carries that each carry comes to depend on, in any number of steps."""
        reach = [self.of([atom]) for atom in self.carry_out]
        for _ in reach:
            reach = [r.union(*(reach[k] for k in r)) for r in reach]
        return reach

    @cached_property
    def products(self) -> list[JaxprEqn]:
        """The products with a matrix that no step changes and that kernels do not take back."""
        changing = dependent_variables(self.body.jaxpr, [*self.carries, *self.xs])
        return [e for e in self.equations if _leaves(e, changing)]

    @cached_property
    def may_rest(self) -> bool:
        """Whether a flag can keep states as they are; kernels leave such steps out."""
        makers = {v: e for e in self.equations for v in e.outvars}
        last = [makers[a] for a in variables(self.carry_out) if a in makers]
        kept = set(self.carries)
        return any(
            e.primitive.name == "select_n" and any(v in kept for v in variables(e.invars[1:]))
            for e in last
        )

    def level(self, carry: int) -> int:
        """The number of products that lie between the first layer and that of `carry`."""
        if carry not in self._levels:
            own = {carry} | {k for k in self.reach[carry] if carry in self.reach[k]}
            level = self._level(own)
            self._levels.update(dict.fromkeys(own, level))
        return self._levels[carry]

    def _level(self, own: set[int]) -> int:
        before = frozenset[int]().union(*(self.reach[n] for n in own)) - own
        level = max((self.level(k) for k in before), default=0)
        only_here = self._behind(own) - self._behind(before)
        for eqn in self.products:
            needs = self.of(eqn.invars)
            if id(eqn) in only_here and needs and needs <= before:
                level = max(level, 1 + max(self.level(k) for k in needs))
                self._leaving[id(eqn)] = _multiplications(eqn)
        return level

    def _behind(self, carries: Iterable[int]) -> set[int]:
        """The equations that make `carries` of the next step."""
        outputs = [self.carry_out[n] for n in carries]
        return {id(e) for e in live_equations(self.body.jaxpr, outputs)}

    @property
    def leaving(self) -> int:
        """The multiplications that leave each step, of the carries whose level was asked for."""
        return sum(self._leaving.values())


def _leaves(eqn: JaxprEqn, changing: set[Var]) -> bool:
    """Whether `eqn` multiplies few rows, or a large matrix, so that no kernel takes it back."""
    if eqn.primitive.name != "dot_general":
        return False
    contracted, batch = eqn.params["dimension_numbers"]
    fixed = [not (isinstance(a, Var) and a in changing) for a in eqn.invars]
    if batch != ((), ()) or sum(fixed) != 1:
        return False
    side = fixed.index(False)
    value, matrix = eqn.invars[side].aval, eqn.invars[1 - side].aval
    if any(not isinstance(n, int) for n in value.shape):  # pyright: ignore
        return False
    free = (n for axis, n in enumerate(value.shape) if axis not in contracted[side])  # pyright: ignore
    return not kernel_multiplies(math.prod(free), size_in_bytes(matrix))


def _multiplications(eqn: JaxprEqn) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    depth = math.prod(eqn.invars[0].aval.shape[a] for a in contracted)  # pyright: ignore
    return depth * math.prod(eqn.outvars[0].aval.shape)  # pyright: ignore
