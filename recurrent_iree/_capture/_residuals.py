"""What a loop keeps for its backward pass: the fewest bytes from which the rest can be computed.

The derivative of a loop is two loops: one runs forward and stacks what the other, which runs
backward, reads at each step. JAX stacks every factor of the derivative, such as ``s``, ``1 - s``
and ``s * (1 - s)`` of one gate. Here the forward loop stacks the smallest set of values from which
the backward loop gets all of them by plain arithmetic: a minimum cut between what arithmetic cannot
give (states, products, exponentials) and what the backward loop reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from ._cut import cheapest_cut
from ._jaxpr import flatten_calls, live_equations
from ._split import variables

# What costs less to compute again than to write and to read.
ARITHMETIC = frozenset(
    "abs add add_any and broadcast_in_dim ceil clamp convert_element_type copy div eq expand_dims "
    "floor ge gt integer_pow is_finite le lt max min mul ne neg not or reshape select_n sign slice "
    "split square squeeze sub transpose xor".split()
)
LARGEST = 4000  # equations of a body: the search takes long for more
DEAREST = 16  # operations that may be repeated for each number that is not kept


@dataclass(frozen=True)
class Loop:
    """A scan with a flat body."""

    eqn: JaxprEqn
    body: ClosedJaxpr

    @property
    def fixed(self) -> int:
        """How many inputs no step changes."""
        return self.eqn.params["num_consts"]

    @property
    def carry(self) -> int:
        """How many inputs, and outputs, are states."""
        return self.eqn.params["num_carry"]

    @property
    def first(self) -> int:
        """The number of the first step input."""
        return self.fixed + self.carry


@dataclass(frozen=True)
class Pair:
    """A forward and a backward loop, and what the one keeps for the other.

    Attributes:
        dropped: the outputs of the forward loop, by number, that are stacked no more.
        reads: the step inputs of the backward loop, by number, that are gone, with the value of the
            forward body that each had; those that nothing uses are missing.
        gone: the numbers of all step inputs of the backward loop that are gone.
        stored: the values of the forward body that are stacked instead.
        steps: other values of the forward body that are there for each step, and where.
        single: the same for values that no step changes.
        again: the equations of the forward body that the backward one repeats.
        before, after: bytes of a step that are kept, by JAX and now.
    """

    forward: Loop
    backward: Loop
    dropped: list[int]
    reads: dict[int, Any]
    gone: list[int]
    stored: list[Var]
    steps: dict[Var, Any]
    single: dict[Var, Any]
    again: list[JaxprEqn]
    before: int
    after: int


def find_pairs(jaxpr: Jaxpr) -> list[Pair]:
    """The loops of `jaxpr` of which one keeps more than it has to for the other."""
    live = live_equations(jaxpr, jaxpr.outvars)
    loops = [e for e in live if e.primitive.name == "scan" and not e.effects]
    makers = {v: e for e in loops for v in e.outvars[e.params["num_carry"] :]}
    readers: dict[Var, list[JaxprEqn | None]] = {}
    for eqn in (*live, None):
        for atom in variables(jaxpr.outvars if eqn is None else eqn.invars):
            readers.setdefault(atom, []).append(eqn)
    pairs: list[Pair] = []
    for eqn in loops:
        first = eqn.params["num_consts"] + eqn.params["num_carry"]
        whole = set(variables(eqn.invars[:first]))
        own = [v for v in variables(eqn.invars[first:]) if v in makers and v not in whole]
        own = [v for v in own if readers[v] == [eqn]]
        for source in {id(makers[v]): makers[v] for v in own}.values():
            taken = [e for p in pairs for e in (p.forward.eqn, p.backward.eqn)]
            if any(e is source or e is eqn for e in taken):
                continue
            kept = {v for v in own if makers[v] is source}
            pair = _pair(_loop(source), _loop(eqn), kept, set(readers))
            pairs.extend([pair] if pair else [])
    return pairs


def _loop(eqn: JaxprEqn) -> Loop:
    return Loop(eqn, flatten_calls(eqn.params["jaxpr"]))


def _pair(forward: Loop, backward: Loop, kept: set[Var], read: set[Var]) -> Pair | None:
    """How to keep less than `kept`, which only the backward loop reads; ``None`` if it is not less.

    `read` has every variable outside of the loops that anything reads.
    """
    body, eqn = forward.body.jaxpr, forward.eqn
    lengths = [loop.eqn.params["length"] for loop in (forward, backward)]
    if not isinstance(lengths[0], int) or lengths[0] != lengths[1] or len(body.eqns) > LARGEST:
        return None
    gone = {i: v for i, v in enumerate(backward.eqn.invars) if isinstance(v, Var) and v in kept}
    value_of = dict(zip(eqn.outvars, body.outvars, strict=True))
    reads = {i: value_of[gone[i]] for i in _used(backward.body.jaxpr) if i in gone}
    dropped = [i for i, v in enumerate(eqn.outvars) if v in kept]
    single, steps = _there_anyway(forward, kept, read)
    there = {*single, *steps}
    wanted = [v for v in variables(reads.values()) if v not in there]
    made_of = {
        v: [a for a in variables(e.invars) if a not in there]
        for e in body.eqns
        if e.primitive.name in ARITHMETIC
        for v in e.outvars
    }
    stored = cheapest_cut(made_of, _bytes, wanted)
    again = _between(body, there.union(stored), wanted)
    before = sum(map(_bytes, variables(body.outvars[i] for i in dropped)))
    after = sum(map(_bytes, stored))
    work = sum(math.prod(v.aval.shape) for e in again for v in e.outvars)  # pyright: ignore
    if after >= before or 4 * work > DEAREST * (before - after):
        return None
    needed = set(variables([*reads.values(), *(a for e in again for a in e.invars)]))
    return Pair(
        forward=forward,
        backward=backward,
        dropped=dropped,
        reads=reads,
        gone=list(gone),
        stored=stored,
        steps={v: a for v, a in steps.items() if v in needed},
        single={v: a for v, a in single.items() if v in needed},
        again=again,
        before=before,
        after=after,
    )


def _used(body: Jaxpr) -> list[int]:
    """The inputs of `body`, by number, that anything in it reads."""
    used = set(variables([*body.outvars, *(a for e in body.eqns for a in e.invars)]))
    return [i for i, v in enumerate(body.invars) if v in used]


def _there_anyway(
    loop: Loop, kept: set[Var], read: set[Var]
) -> tuple[dict[Var, Any], dict[Var, Any]]:
    """Values of the body that are outside, too, once or for each step, with where they are."""
    body, eqn = loop.body.jaxpr, loop.eqn
    single: dict[Var, Any] = dict(zip(body.constvars, loop.body.consts, strict=True))
    pairs = list(zip(body.invars, eqn.invars, strict=True))
    single.update(pairs[: loop.fixed])
    steps: dict[Var, Any] = dict(pairs[loop.first :])
    for value, outside in list(zip(body.outvars, eqn.outvars, strict=True))[loop.carry :]:
        if isinstance(value, Var) and outside in read and outside not in kept:
            steps.setdefault(value, outside)
    return single, {v: a for v, a in steps.items() if v not in single}


def _between(body: Jaxpr, known: set[Var], wanted: Sequence[Var]) -> list[JaxprEqn]:
    """The equations that compute `wanted` from what is known."""
    needed = {v for v in wanted if v not in known}
    found = []
    for eqn in reversed(body.eqns):
        if any(v in needed for v in eqn.outvars):
            found.append(eqn)
            needed.update(v for v in variables(eqn.invars) if v not in known)
    return found[::-1]


def _bytes(value: Var) -> int:
    aval: Any = value.aval
    return math.prod(aval.shape) * aval.dtype.itemsize
