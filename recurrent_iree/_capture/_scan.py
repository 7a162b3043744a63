"""From one `lax.scan` to products over all steps around a `recurrent_iree.recurrence` composite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from ._composite import emit_recurrence
from ._jaxpr import run_equations
from ._layers import taken_apart
from ._pieces import number_of_pieces
from ._products import run_merged
from ._split import CONTRACTIONS, INVARIANT, STEP, Split, split_body, variables


def describe_scan(eqn: JaxprEqn) -> dict[str, Any]:
    """What `lower_scan` does with the scan `eqn`, as JSON for the report."""
    length, num_consts = eqn.params["length"], eqn.params["num_consts"]
    lean, layers = taken_apart(eqn)
    bodies = [(layer.body.jaxpr, num_consts, len(layer.carries)) for layer in layers.layers]
    splits = [split_body(*body, length) for body in bodies]

    def products(*parts: list[JaxprEqn]) -> int:
        return sum(e.primitive.name in CONTRACTIONS for part in parts for e in part)

    return {
        "steps": length if isinstance(length, int) else "?",
        "layers": layers.text,
        "pieces": 1 if lean.accumulators else max(number_of_pieces(s, length) for s in splits),
        "backwards": eqn.params["reverse"],
        "carries": eqn.params["num_carry"],
        "sums after the loop": len(lean.accumulators),
        "products before the loop": products(*(p for s in splits for p in (s.once, s.before))),
        "products in the loop": products(*(s.loop for s in splits)),
        "products after the loop": products(*(s.after for s in splits)),
    }


@dataclass
class _Loop:
    """A scan in the middle of being taken apart: where each value of its body is to be had."""

    split: Split
    length: int
    reverse: bool
    single: dict[Var, Any]
    stacked: dict[Var, Any]
    carry_vars: list[Var]
    carry_out: list[Any]
    step_out: list[Any]

    def level(self, var: Var) -> int:
        return self.split.level[var]


def lower_scan(eqn: JaxprEqn, values: Sequence[Any], *, marked: bool = True) -> list[Any]:
    """The results of the scan `eqn` for the inputs `values`: hoisted, looped, sunk.

    With `marked` the loop is a composite that the compiler finds, else a plain scan.
    """
    params = eqn.params
    num_consts, num_carry, length = params["num_consts"], params["num_carry"], params["length"]
    lean, layers = taken_apart(eqn)
    values = [_typed(v, atom) for v, atom in zip(values, eqn.invars, strict=True)]
    consts, xs = values[:num_consts], values[num_consts + num_carry :]
    init = [values[num_consts + i] for i in lean.kept]
    carry, ys = dict(enumerate(init)), dict[int, Any]()
    made: dict[Var, Any] = {}
    for layer in layers.layers:
        inputs = [*xs, *(made[v] for v in layer.reads)]
        loop = _start(layer.body, consts, len(layer.carries), inputs, length, params["reverse"])
        _compute_once(loop)
        count = number_of_pieces(loop.split, length) if marked and not lean.accumulators else 1
        last, out = _run_in_pieces(loop, [carry[n] for n in layer.carries], count, marked)
        carry.update(zip(layer.carries, last, strict=True))
        ys.update(zip(layer.outputs, out, strict=False))
        made.update(zip(layer.gives, out[len(layer.outputs) :], strict=True))
    results = [carry[n] for n in range(len(carry))], [ys[n] for n in range(len(ys))]
    return lean.results(values, num_consts, num_carry, length, *results)


def _run_in_pieces(
    loop: _Loop, init: Sequence[Any], count: int, marked: bool
) -> tuple[list[Any], list[Any]]:
    """The last carry and the stacked outputs; each piece begins where the one before ended."""
    if count == 1:
        return _run_piece(loop, init, marked)
    size = -(-loop.length // count)
    starts = list(range(0, loop.length, size))
    carry, parts = list(init), {}
    for start in reversed(starts) if loop.reverse else starts:
        stop = min(start + size, loop.length)
        stacked = {v: lax.slice_in_dim(x, start, stop) for v, x in loop.stacked.items()}
        piece = replace(loop, length=stop - start, stacked=stacked)
        carry, parts[start] = _run_piece(piece, carry, marked)
    columns = zip(*(parts[start] for start in starts), strict=True)
    return carry, [jnp.concatenate(column) for column in columns]


def _run_piece(loop: _Loop, init: Sequence[Any], marked: bool) -> tuple[list[Any], list[Any]]:
    _compute_all_steps(loop, loop.split.before)
    carry = _run_loop(loop, init, marked)
    _compute_all_steps(loop, loop.split.after)
    return carry, [_step_output(loop, atom) for atom in loop.step_out]


def _start(
    body: ClosedJaxpr,
    consts: Sequence[Any],
    num_carry: int,
    xs: Sequence[Any],
    length: int,
    reverse: bool,
) -> _Loop:
    jaxpr, num_consts = body.jaxpr, len(consts)
    single = dict(zip(jaxpr.constvars, body.consts, strict=True))
    single.update(zip(jaxpr.invars[:num_consts], consts, strict=True))
    return _Loop(
        split=split_body(jaxpr, num_consts, num_carry, length),
        length=length,
        reverse=reverse,
        single=single,
        stacked=dict(zip(jaxpr.invars[num_consts + num_carry :], xs, strict=True)),
        carry_vars=list(jaxpr.invars[num_consts : num_consts + num_carry]),
        carry_out=list(jaxpr.outvars[:num_carry]),
        step_out=list(jaxpr.outvars[num_carry:]),
    )


def _compute_once(loop: _Loop) -> None:
    equations = loop.split.once
    inputs = _free(equations)
    outputs = [v for eqn in equations for v in eqn.outvars]
    results = run_equations(equations, inputs, outputs)(*(loop.single[v] for v in inputs))
    loop.single.update(zip(outputs, results, strict=True))


def _compute_all_steps(loop: _Loop, equations: list[JaxprEqn]) -> None:
    """Run `equations`, whose inputs are known for every step, for all steps at once."""
    if not equations:
        return
    inputs = _free(equations)
    outputs = [v for eqn in equations for v in eqn.outvars]
    mapped = [v in loop.stacked for v in inputs]
    values = [loop.stacked[v] if m else loop.single[v] for v, m in zip(inputs, mapped, strict=True)]
    over_steps = jax.vmap(
        run_merged(equations, inputs, outputs), in_axes=tuple(0 if m else None for m in mapped)
    )
    loop.stacked.update(zip(outputs, over_steps(*values), strict=True))


def _run_loop(loop: _Loop, init: Sequence[Any], marked: bool) -> list[Any]:
    """Run what must stay in the loop; records the stacked values and returns the last carry."""
    made = {v for eqn in loop.split.loop for v in eqn.outvars} | set(loop.carry_vars)
    wanted = variables([*loop.step_out, *(a for e in loop.split.after for a in e.invars)])
    sunk = {v for eqn in loop.split.after for v in eqn.outvars}
    stacked = [v for v in wanted if v in made and v not in sunk]
    outputs = [*loop.carry_out, *stacked]
    if not outputs:
        return []
    equations = _live(loop.split.loop, outputs)
    used = variables([*(a for e in equations for a in e.invars), *outputs])
    own = {v for eqn in equations for v in eqn.outvars} | set(loop.carry_vars)
    consts = [v for v in used if v not in own and loop.level(v) == INVARIANT]
    steps = [v for v in used if v not in own and loop.level(v) == STEP]
    cell = _cell(equations, [*consts, *loop.carry_vars, *steps], outputs)
    results = emit_recurrence(
        cell,
        consts=[loop.single[v] for v in consts],
        init=list(init),
        xs=[loop.stacked[v] for v in steps],
        length=loop.length,
        reverse=loop.reverse,
        marked=marked,
    )
    loop.stacked.update(zip(stacked, results[len(init) :], strict=True))
    return results[: len(init)]


def _cell(
    equations: list[JaxprEqn], inputs: list[Var], outputs: list[Any]
) -> Callable[..., tuple[Any, ...]]:
    run = run_equations(equations, inputs, variables(outputs))

    def cell(*args: Any) -> tuple[Any, ...]:
        env = dict(zip(variables(outputs), run(*args), strict=True))
        return tuple(
            jnp.asarray(a.val, a.aval.dtype) if isinstance(a, Literal) else env[a]  # pyright: ignore
            for a in outputs
        )

    return cell


def _step_output(loop: _Loop, atom: Any) -> Any:
    if isinstance(atom, Literal):
        return jnp.full((loop.length,), atom.val, atom.aval.dtype)  # pyright: ignore
    if atom in loop.stacked:
        return loop.stacked[atom]
    value = loop.single[atom]
    return jnp.broadcast_to(value, (loop.length, *value.shape))


def _free(equations: Iterable[JaxprEqn]) -> list[Var]:
    """The variables that `equations` use but do not make."""
    made: set[Var] = set()
    free: dict[Var, None] = {}
    for eqn in equations:
        free.update(dict.fromkeys(v for v in variables(eqn.invars) if v not in made))
        made.update(eqn.outvars)
    return list(free)


def _live(equations: list[JaxprEqn], outputs: Sequence[Any]) -> list[JaxprEqn]:
    needed = set(variables(outputs))
    kept = []
    for eqn in reversed(equations):
        if eqn.effects or any(var in needed for var in eqn.outvars):
            kept.append(eqn)
            needed.update(variables(eqn.invars))
    return kept[::-1]


def _typed(value: Any, atom: Any) -> Any:
    """`value` as an array: a literal may be a number of Python."""
    return value if hasattr(value, "dtype") else jnp.asarray(value, atom.aval.dtype)
