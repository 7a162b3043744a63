"""The layers of a loop: states that only feed forward get a loop of their own.

A stack of cells in one step multiplies the output of a cell by the matrix of the next at every
step. The next cell needs nothing but that output, so its loop may run when the loop of the first
is done; then all its inputs are known, and their product leaves the loop as any input's does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from ._accumulators import WithoutAccumulators, take_out
from ._jaxpr import live_equations, run_equations
from ._products import flatten_body
from ._split import variables
from ._states import States

WORTH = 1 << 20
"""Multiplications that must leave the loop; what a second kernel and a product cost is some us."""
SOME_STEPS = 32


@dataclass(frozen=True)
class Layer:
    """One loop of those that a loop becomes.

    Attributes:
        body: takes the constants, its own carries, all step inputs and `reads`; gives its carries,
            its step outputs and `gives`.
        carries: the numbers of its carries in the whole.
        outputs: the numbers of its step outputs in the whole.
        reads: variables of the whole that earlier layers have stacked.
        gives: variables of the whole that it stacks for later layers.
    """

    body: ClosedJaxpr
    carries: list[int]
    outputs: list[int]
    reads: list[Var]
    gives: list[Var]


@dataclass(frozen=True)
class Layers:
    """The loops that a loop becomes, in the order in which they run; `reason` says why."""

    layers: list[Layer]
    reason: str = ""

    @property
    def text(self) -> str:
        """The choice as a line of the report."""
        count = len(self.layers)
        return f"{count}{': ' if self.reason else ''}{self.reason}"


def taken_apart(eqn: JaxprEqn) -> tuple[WithoutAccumulators, Layers]:
    """The scan `eqn` without its accumulators, and the loops that the rest becomes."""
    num_consts, num_carry = eqn.params["num_consts"], eqn.params["num_carry"]

    def found(by_state: bool) -> tuple[WithoutAccumulators, Layers]:
        body = flatten_body(eqn.params["jaxpr"], num_consts, num_carry, by_state=by_state)
        lean = take_out(body, num_consts, num_carry)
        return lean, find_layers(lean.body, num_consts, len(lean.kept), eqn.params["length"])

    lean, layers = found(by_state=False)
    joined = any(e.primitive.name == "concatenate" for e in lean.body.jaxpr.eqns)
    apart = found(by_state=True) if joined and layers.text == "1" else (lean, layers)
    return apart if len(apart[1].layers) > 1 else (lean, layers)


def find_layers(body: ClosedJaxpr, num_consts: int, num_carry: int, length: Any) -> Layers:
    """The layers of a scan with this `body`; one where nothing is gained by more."""
    outputs = list(range(len(body.jaxpr.outvars) - num_carry))
    whole = [Layer(body, list(range(num_carry)), outputs, [], [])]
    states = States(body, num_consts, num_carry)
    if num_carry < 2 or length in (0, 1) or any(eqn.effects for eqn in states.equations):
        return Layers(whole)
    levels = [states.level(n) for n in range(num_carry)]
    if max(levels) == 0:
        return Layers(whole)
    if states.may_rest:
        return Layers(whole, "steps that a mask leaves out are cheaper in one loop")
    steps = length if isinstance(length, int) else SOME_STEPS
    if steps * states.leaving < WORTH:
        return Layers(whole, "the products between its layers are too small to leave it")
    return Layers(_cut(states, levels), "a product with the output of the layer before leaves it")


def _cut(states: States, levels: Sequence[int]) -> list[Layer]:
    """The layers, from the last to the first, because each says what it reads of those before."""

    def level(atoms: Iterable[Any]) -> int:
        return max((levels[n] for n in states.of(atoms)), default=-1)

    count = max(levels) + 1
    stacked = {v: levels[n] for n, v in enumerate(states.carries)}
    own: list[tuple[list[int], list[int], list[Any]]] = []
    for k in range(count):
        carries = [n for n, at in enumerate(levels) if at == k]
        ys = [n for n, y in enumerate(states.ys) if max(level([y]), 0) == k]
        outputs = [*(states.carry_out[n] for n in carries), *(states.ys[n] for n in ys)]
        own.append((carries, ys, outputs))
        for eqn in live_equations(states.body.jaxpr, outputs):
            if level(eqn.invars) == k:
                stacked.update(dict.fromkeys(eqn.outvars, k))
    layers: list[Layer] = []
    asked: dict[Var, None] = {}
    for k in reversed(range(count)):
        carries, ys, outputs = own[k]
        gives = [v for v in asked if stacked[v] == k]
        earlier = {v for v, at in stacked.items() if at < k}
        equations, reads = _walk(states.equations, [*outputs, *gives], earlier)
        asked.update(dict.fromkeys(reads))
        inputs = [*(states.carries[n] for n in carries), *states.xs, *reads]
        body = _body(states, equations, inputs, [*outputs, *gives])
        layers.insert(0, Layer(body, carries, ys, reads, gives))
    return layers


def _walk(
    equations: Sequence[JaxprEqn], outputs: Iterable[Any], stop: set[Var]
) -> tuple[list[JaxprEqn], list[Var]]:
    """The equations behind `outputs`, and the variables of `stop` that they start from."""
    needed = dict.fromkeys(variables(outputs))
    found = []
    for eqn in reversed(equations):
        if any(v in needed and v not in stop for v in eqn.outvars):
            found.append(eqn)
            needed.update(dict.fromkeys(variables(eqn.invars)))
    return found[::-1], [v for v in needed if v in stop]


def _body(
    states: States, equations: list[JaxprEqn], inputs: Sequence[Var], outputs: Sequence[Any]
) -> ClosedJaxpr:
    jaxpr, consts = states.body.jaxpr, states.body.consts
    wanted = variables(outputs)
    taken = [*states.consts, *inputs]
    run = run_equations(equations, [*jaxpr.constvars, *taken], wanted)

    def step(*values: Any) -> list[Any]:
        made = dict(zip(wanted, run(*consts, *values), strict=True))
        return [
            jnp.asarray(a.val, a.aval.dtype) if isinstance(a, Literal) else made[a]  # pyright: ignore
            for a in outputs
        ]

    return jax.make_jaxpr(step)(*(v.aval for v in taken))
