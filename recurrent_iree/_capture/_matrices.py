"""Which weights are matrices of products, and along which of their axes products sum.

A weight counts if all that happens to it, apart from moves such as slices and transposes, are
products. Moves are followed through calls and into the bodies of loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var

from ._jaxpr import _CALLS, closed, live_equations
from ._program import Trace

Axes = tuple[int | None, ...]
Origin = Mapping[str, Axes]
"""For each weight that a value is made of: which axis of the weight each of its axes is."""


@dataclass
class Uses:
    """What happens to one weight: the axes that products sum over, and everything else."""

    summed: set[int] = field(default_factory=set)
    products: int = 0
    others: dict[str, None] = field(default_factory=dict)


def find_uses(traces: Sequence[Trace], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Uses]:
    """The uses of each weight in all `traces`."""
    uses = {name: Uses() for name in shapes}
    for trace in traces:
        jaxpr = trace.jaxpr.jaxpr
        names = [*trace.lifted, *trace.weight_names]
        variables = [*jaxpr.constvars, *jaxpr.invars[: len(trace.weight_names)]]
        origins: dict[Any, Origin] = {
            var: {name: tuple(range(len(shapes[name])))}
            for var, name in zip(variables, names, strict=True)
            if name is not None
        }
        _Walk(uses).run(jaxpr, origins)
    return uses


class _Walk:
    def __init__(self, uses: dict[str, Uses]) -> None:
        self.uses = uses

    def run(self, jaxpr: Jaxpr, origins: dict[Any, Origin]) -> list[Origin]:
        """Follow `origins` through `jaxpr`; returns those of its results."""
        for eqn in live_equations(jaxpr, jaxpr.outvars):
            given = [{} if isinstance(a, Literal) else origins.get(a, {}) for a in eqn.invars]
            if any(given):
                made = self.equation(eqn, given)
                origins.update(zip(eqn.outvars, made, strict=False))
        results = [a if isinstance(a, Var) else None for a in jaxpr.outvars]
        found = [origins.get(var, {}) for var in results]
        for origin in found:
            self.other(origin, "a result")
        return found

    def other(self, origin: Origin, what: str) -> None:
        for name in origin:
            self.uses[name].others[what] = None

    def equation(self, eqn: JaxprEqn, given: list[Origin]) -> list[Origin]:
        name = eqn.primitive.name
        if name in _MOVES:
            return [_moved(eqn, given, axes) for axes in [_MOVES[name](eqn)]]
        if name == "split":
            return [_moved(eqn, given, _same(eqn)) for _ in eqn.outvars]
        if name == "dot_general":
            contracting, _ = eqn.params["dimension_numbers"]
            for origin, axes in zip(given, contracting, strict=True):
                self.product(origin, axes)
        elif name in _CALLS:
            body = closed(eqn.params[_CALLS[name]]).jaxpr
            return self.run(body, dict(zip(body.invars, given, strict=True)))
        elif name == "scan":
            self.scan(eqn, given)
        else:
            for origin in given:
                self.other(origin, name)
        return [{} for _ in eqn.outvars]

    def product(self, origin: Origin, contracted: Sequence[int]) -> None:
        for name, axes in origin.items():
            self.uses[name].products += 1
            summed = [axes[axis] for axis in contracted]
            if None in summed:
                self.uses[name].others["a product over joined axes"] = None
            self.uses[name].summed.update(axis for axis in summed if axis is not None)

    def scan(self, eqn: JaxprEqn, given: list[Origin]) -> None:
        consts = eqn.params["num_consts"]
        after = consts + eqn.params["num_carry"]
        for origin in given[consts:after]:
            self.other(origin, "the carry of a loop")
        per_step: list[Origin] = [{n: axes[1:] for n, axes in o.items()} for o in given[after:]]
        carry: list[Origin] = [{} for _ in given[consts:after]]
        body = eqn.params["jaxpr"].jaxpr
        inner = [*given[:consts], *carry, *per_step]
        self.run(body, dict(zip(body.invars, inner, strict=True)))


def _moved(eqn: JaxprEqn, given: list[Origin], axes: Sequence[int | None]) -> Origin:
    """The origin of a move of its operands; `axes` are the operand's axes of each of the result."""
    made: dict[str, Axes] = {}
    for origin in given:
        for name, old in origin.items():
            new = tuple(None if a is None else old[a] for a in axes)
            made[name] = new if made.get(name, new) == new else (None,) * len(new)
    return made


def _same(eqn: JaxprEqn) -> list[int | None]:
    return list(range(len(eqn.invars[0].aval.shape)))  # pyright: ignore


def _broadcast(eqn: JaxprEqn) -> list[int | None]:
    places = eqn.params["broadcast_dimensions"]
    rank = len(eqn.outvars[0].aval.shape)  # pyright: ignore
    return [places.index(axis) if axis in places else None for axis in range(rank)]


def _squeeze(eqn: JaxprEqn) -> list[int | None]:
    return [a for a in _same(eqn) if a not in eqn.params["dimensions"]]


def _reshape(eqn: JaxprEqn) -> list[int | None]:
    """Axes that were cut stand for the axis that was cut; joined axes are lost."""
    old = list(eqn.invars[0].aval.shape)  # pyright: ignore
    new = list(eqn.outvars[0].aval.shape)  # pyright: ignore
    if eqn.params.get("dimensions") is not None:
        return [None] * len(new)
    axes: list[int | None] = []
    at = 0
    while len(axes) < len(new):
        size = new[len(axes)]
        while at < len(old) and old[at] == 1 and size != 1:
            at += 1
        if size == 1 or at == len(old):
            axes.append(None)
        elif old[at] % size == 0:
            axes.append(at)
            old[at] //= size
            at += old[at] == 1
        else:
            return [None] * len(new)
    return axes


_MOVES: dict[str, Any] = {
    "transpose": lambda eqn: list(eqn.params["permutation"]),
    "slice": _same,
    "rev": _same,
    "copy": _same,
    "concatenate": _same,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "optimization_barrier": _same,
}
