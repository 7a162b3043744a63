"""Rewriting the two loops of a derivative so that the first keeps less for the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

from ._jaxpr import bind, evaluate, live_equations, run_equations
from ._program import Trace
from ._residuals import Pair, find_pairs
from ._split import variables


def keep_less(trace: Trace) -> tuple[Trace, list[tuple[int, int]]]:
    """`trace` with less kept, and the bytes of a step before and after for each pair of loops."""
    jaxpr = trace.jaxpr
    pairs = find_pairs(jaxpr.jaxpr)
    if not pairs:
        return trace, []
    count = len(jaxpr.consts)
    avals = [v.aval for v in (*jaxpr.jaxpr.constvars, *jaxpr.jaxpr.invars)]
    made = jax.make_jaxpr(lambda *values: _run(jaxpr.jaxpr, pairs, values))(*avals)
    inner = made.jaxpr
    inner = inner.replace(
        constvars=[*inner.invars[:count], *inner.constvars], invars=inner.invars[count:]
    )
    changed = replace(
        trace,
        jaxpr=ClosedJaxpr(inner, [*jaxpr.consts, *made.consts]),
        lifted=[*trace.lifted, *[None] * len(made.consts)],
    )
    return changed, [(p.before, p.after) for p in pairs]


def _run(jaxpr: Jaxpr, pairs: Sequence[Pair], values: Sequence[Any]) -> list[Any]:
    """Evaluate `jaxpr` for its constants and inputs, with the loops of `pairs` changed."""
    env: dict[Var, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), values, strict=True))
    kept: dict[int, dict[Var, Any]] = {}
    forwards = {id(p.forward.eqn): p for p in pairs}
    backwards = {id(p.backward.eqn): p for p in pairs}

    def read(atom: Any) -> Any:
        return env[atom] if isinstance(atom, Var) else _constant(atom)

    for eqn in live_equations(jaxpr, jaxpr.outvars):
        given = [read(atom) for atom in eqn.invars]
        if (pair := backwards.get(id(eqn))) is not None:
            steps = {v: read(a) for v, a in pair.steps.items()} | kept[id(pair)]
            single = {v: read(a) for v, a in pair.single.items()}
            results = _run_backward(pair, given, steps, single)
        elif (pair := forwards.get(id(eqn))) is not None:
            results, kept[id(pair)] = _run_forward(pair, given)
        else:
            results = bind(eqn, given)
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _run_forward(pair: Pair, given: Sequence[Any]) -> tuple[list[Any], dict[Var, Any]]:
    """The results of the forward loop, ``None`` for what is dropped, and what it stores instead."""
    loop, body = pair.forward, pair.forward.body.jaxpr
    outputs = [a for i, a in enumerate(body.outvars) if i not in pair.dropped]
    wanted = variables([*outputs, *pair.stored])
    run = run_equations(live_equations(body, wanted), [*body.constvars, *body.invars], wanted)

    def step(carry: Sequence[Any], xs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        values = run(*loop.body.consts, *given[: loop.fixed], *carry, *xs)
        env = dict(zip(wanted, values, strict=True))
        made = [env[a] if isinstance(a, Var) else _constant(a) for a in (*outputs, *pair.stored)]
        return made[: loop.carry], made[loop.carry :]

    carry, ys = _scan(pair.forward.eqn, step, given, given[loop.first :])
    results = iter([*carry, *ys])
    whole = [None if i in pair.dropped else next(results) for i in range(len(body.outvars))]
    return whole, dict(zip(pair.stored, results, strict=True))


def _run_backward(
    pair: Pair, given: Sequence[Any], steps: Mapping[Var, Any], single: Mapping[Var, Any]
) -> list[Any]:
    """The results of the backward loop, which computes again what is not kept."""
    loop = pair.backward
    known = [*steps, *single]
    reads = variables(pair.reads.values())
    again = run_equations(pair.again, known, reads)
    stay = [i for i in range(loop.first, len(given)) if i not in pair.gone]

    def step(carry: Sequence[Any], xs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        own, kept = xs
        made = dict(zip(reads, again(*kept, *single.values()), strict=True))
        inputs: list[Any] = [None] * len(given)
        inputs[: loop.first] = [*given[: loop.fixed], *carry]
        for i, value in zip(stay, own, strict=True):
            inputs[i] = value
        for i, value in pair.reads.items():
            inputs[i] = made[value] if isinstance(value, Var) else _constant(value)
        results = evaluate(loop.body, inputs, {})
        results = [
            _constant(a) if isinstance(a, Literal) else value
            for a, value in zip(loop.body.jaxpr.outvars, results, strict=True)
        ]
        return results[: loop.carry], results[loop.carry :]

    xs = ([given[i] for i in stay], list(steps.values()))
    carry, ys = _scan(loop.eqn, step, given, xs)
    return [*carry, *ys]


def _scan(eqn: Any, step: Any, given: Sequence[Any], xs: Any) -> tuple[list[Any], list[Any]]:
    consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
    init = list(given[consts : consts + carry])
    return lax.scan(step, init, xs, length=eqn.params["length"], reverse=eqn.params["reverse"])


def _constant(atom: Any) -> Any:
    """A literal as an array of its dtype; an array as it is."""
    return jnp.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else atom  # pyright: ignore
