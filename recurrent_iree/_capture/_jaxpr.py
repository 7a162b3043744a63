"""Walking jaxprs: inlining of calls, liveness, dependence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

Rule = Callable[[JaxprEqn, list[Any]], Sequence[Any]]

# The name of the parameter that holds the body, for each primitive that is a mere call.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}

# The calls that have rules of their own for derivatives, or about what a derivative keeps.
RULES = frozenset(
    {"checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
)


def closed(jaxpr: Any) -> ClosedJaxpr:
    """`jaxpr` as a closed jaxpr; an open one must have no constants."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def evaluate(jaxpr: ClosedJaxpr, args: Sequence[Any], rules: Mapping[str, Rule]) -> list[Any]:
    """Evaluate `jaxpr` with calls inlined, dead equations left out and `rules` by primitive name.

    A rule gets an equation and its input values and returns its output values.
    """
    env: dict[Var, Any] = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    env.update(zip(jaxpr.jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in live_equations(jaxpr.jaxpr, jaxpr.jaxpr.outvars):
        values = [read(atom) for atom in eqn.invars]
        env.update(zip(eqn.outvars, _apply(eqn, values, rules), strict=True))
    return [read(atom) for atom in jaxpr.jaxpr.outvars]


def _apply(eqn: JaxprEqn, values: list[Any], rules: Mapping[str, Rule]) -> Sequence[Any]:
    name = eqn.primitive.name
    if name in rules:
        return rules[name](eqn, values)
    if name == "reduce_precision" and _keeps_all_bits(eqn):
        return values
    if name in _CALLS:
        return evaluate(closed(eqn.params[_CALLS[name]]), values, rules)
    return bind(eqn, values)


def _keeps_all_bits(eqn: JaxprEqn) -> bool:
    """Whether a rounding is to the precision of its own dtype, as derivatives have it."""
    info = jnp.finfo(eqn.outvars[0].aval.dtype)  # pyright: ignore
    return (eqn.params["exponent_bits"], eqn.params["mantissa_bits"]) == (info.nexp, info.nmant)


def bind(eqn: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    """The outputs of `eqn` for other inputs, always as a sequence."""
    with eqn.ctx.manager:
        result = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return result if eqn.primitive.multiple_results else [result]


def live_equations(jaxpr: Jaxpr, outputs: Iterable[Any]) -> list[JaxprEqn]:
    """The equations that `outputs` need (and those with effects), in order."""
    needed = {atom for atom in outputs if isinstance(atom, Var)}
    live: list[JaxprEqn] = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(var in needed for var in eqn.outvars):
            live.append(eqn)
            needed.update(atom for atom in eqn.invars if isinstance(atom, Var))
    return live[::-1]


def flatten_calls(jaxpr: ClosedJaxpr, keep: Iterable[str] = ()) -> ClosedJaxpr:
    """`jaxpr` with every call inlined but those in `keep`; loops and branches stay as they are."""
    rules: dict[str, Rule] = dict.fromkeys(keep, bind)
    return jax.make_jaxpr(lambda *args: evaluate(jaxpr, args, rules))(*jaxpr.in_avals)


def run_equations(
    equations: Sequence[JaxprEqn], inputs: Sequence[Var], outputs: Sequence[Var]
) -> Callable[..., tuple[Any, ...]]:
    """A function of the values of `inputs` that computes `outputs` by `equations`."""

    def run(*values: Any) -> tuple[Any, ...]:
        env: dict[Any, Any] = dict(zip(inputs, values, strict=True))
        for eqn in equations:
            args = [a.val if isinstance(a, Literal) else env[a] for a in eqn.invars]
            env.update(zip(eqn.outvars, bind(eqn, args), strict=True))
        return tuple(env[var] for var in outputs)

    return run


def dependent_variables(jaxpr: Jaxpr, roots: Iterable[Var]) -> set[Var]:
    """The variables of `jaxpr` that depend on one of `roots`, roots included."""
    marked = set(roots)
    for eqn in jaxpr.eqns:
        if any(isinstance(atom, Var) and atom in marked for atom in eqn.invars):
            marked.update(eqn.outvars)
    return marked


def origins(equations: Iterable[JaxprEqn], roots: Sequence[Var]) -> dict[Var, frozenset[int]]:
    """The numbers of the `roots` that each variable is computed from; none if it is missing."""
    found = {v: frozenset((n,)) for n, v in enumerate(roots)}
    none: frozenset[int] = frozenset()
    for eqn in equations:
        value = none.union(*(found.get(a, none) for a in eqn.invars if isinstance(a, Var)))
        found.update(dict.fromkeys(eqn.outvars, value))
    return found
