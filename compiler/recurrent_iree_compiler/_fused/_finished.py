"""Steps that change nothing: proving from a cell when the rest of the loop needs no more work.

A cell with finished rows or masked steps selects the old states by a flag. Assume that the flag is
set for all rows, and follow what is then known of each value: a constant, or the same as a state.
If every state comes out as it went in, and no output depends on the input of the step, then such a
step gives what the one before it gave, and need not run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._ir import Cell, Op, Value
from ._stages import Stages

_MOST_ROUNDS = 3
_SPREADS = frozenset(
    "broadcast_in_dim reshape transpose slice reverse gather dynamic_slice".split()
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
}


@dataclass(frozen=True)
class Idle:
    """When a step changes nothing.

    Attributes:
        flag: the value that says so; it can be read before the step.
        value: what all its elements are then.
        after: how many such steps must have run in a row before the next ones can be left out.
    """

    flag: Value
    value: bool
    after: int


def find_idle(cell: Cell, stages: Stages) -> Idle | str:
    """The proof for `cell`, or why there is none; an empty reason if nothing looks like a flag."""
    why = ""
    for flag in _flags(cell, stages):
        for value in (True, False):
            found = _prove(cell, flag, value)
            if isinstance(found, Idle):
                return found
            why = why or found
    return why


def _flags(cell: Cell, stages: Stages) -> list[Value]:
    """Bools that choose between values, or are states or inputs, and are known before the step."""
    makers = cell.producers()
    leaves = [v for v in (*cell.carry, *cell.xs) if v.dtype == "i1"]
    made: dict[Value, None] = {}
    for op in cell.ops:
        if op.kind == "select":
            value = op.operands[0]
            while value in makers and makers[value].kind in ("broadcast_in_dim", "not", "reshape"):
                value = makers[value].operands[0]
            made[value] = None
    used = {v for op in cell.ops for v in op.operands}
    chosen = [v for v in leaves if v in used] + [v for v in made if v not in leaves]
    changing = {*cell.carry, *cell.xs}
    return [v for v in chosen if _is_known_before(v, stages, makers, changing)]


def _is_known_before(
    value: Value, stages: Stages, makers: dict[Value, Op], changing: set[Value]
) -> bool:
    """Whether `value` follows from states and inputs by element-wise work alone."""
    pending, reads = [value], False
    while pending:
        value = pending.pop()
        op = makers.get(value)
        reads |= value in changing
        if op is None:
            continue
        if stages.stored(value) or op.kind in ("dot_general", "reduce", "gather"):
            return False
        pending.extend(op.operands)
    return reads


def _prove(cell: Cell, flag: Value, value: bool) -> Idle | str:
    """Follow steps under the flag until what is known of the states stays the same."""
    states: dict[Value, Any] = {flag: value} if flag in cell.carry else {}
    for rounds in range(_MOST_ROUNDS):
        facts = _Facts(cell, {**states, flag: value})
        after = {}
        for before, out in zip(cell.carry, cell.carry_out, strict=True):
            known = facts.constant(out)
            if known is not None:
                after[before] = known
        if after == states:
            return _judge(cell, facts, states, Idle(flag, value, rounds + 1))
        states = after
    return f"the states do not come to rest when {flag} is {str(value).lower()}"


def _judge(cell: Cell, facts: _Facts, states: dict[Value, Any], idle: Idle) -> Idle | str:
    where = f"when {idle.flag} is {str(idle.value).lower()} for all rows"
    for number, (before, out) in enumerate(zip(cell.carry, cell.carry_out, strict=True)):
        if facts.root(out) is not before and before not in states:
            return f"state {number} ({before}) still changes {where}"
    for number, out in enumerate(cell.ys):
        if not facts.is_fixed(out):
            return f"output {number} ({out}) still depends on the input of the step {where}"
    return idle


class _Facts:
    """What is known of each value of a cell: a constant, another value that it equals, or that it
    does not depend on the inputs of the step."""

    def __init__(self, cell: Cell, given: dict[Value, Any]) -> None:
        self.known: dict[Value, Any] = {**cell.splats, **given}
        self.same: dict[Value, Value] = {}
        self.moving = {v for v in cell.xs if v not in given}
        for op in cell.ops:
            if op.kind != "constant":
                self._follow(op)

    def constant(self, value: Value) -> Any:
        return self.known.get(self.root(value), self.known.get(value))

    def root(self, value: Value) -> Value:
        return self.same.get(value, value)

    def is_fixed(self, value: Value) -> bool:
        return self.constant(value) is not None or self.root(value) not in self.moving

    def _follow(self, op: Op) -> None:
        if op.result in self.known:
            return
        if len(op.results) == 1:
            found = _meaning(op, self)
            if isinstance(found, Value):
                self.same[op.result] = self.root(found)
                return
            if found is not None:
                self.known[op.result] = found
                return
        if any(not self.is_fixed(v) for v in op.operands):
            self.moving.update(op.results)


def _meaning(op: Op, facts: _Facts) -> Any:
    """The value that the result of `op` equals, or the constant that it is, or ``None``."""
    operands = [facts.constant(v) for v in op.operands]
    if op.kind == "select":
        return _select(op, facts, operands)
    if op.kind in ("and", "or") and op.result.dtype == "i1":
        return _logic(op, operands)
    if op.kind == "not" and op.result.dtype == "i1" and operands[0] is not None:
        return not operands[0]
    if op.kind == "compare" and None not in operands:
        return _COMPARE[op.attrs["direction"]](*operands)
    if op.kind == "convert":
        return _converted(op, operands[0])
    if op.kind in _SPREADS:
        first, result = op.operands[0], op.result
        if operands[0] is not None:
            return operands[0]
        still = op.kind == "broadcast_in_dim" and first.shape == result.shape
        return first if still and op.attrs["dims"] == tuple(range(len(first.shape))) else None
    if op.kind == "reduce":
        return _reduced(op, operands)
    if op.kind == "multiply" and 1 in operands:
        other = op.operands[1 - operands.index(1)]
        return other if other.shape == op.result.shape else None
    return None


def _select(op: Op, facts: _Facts, operands: list[Any]) -> Any:
    flag, yes, no = operands
    if flag is not None:
        chosen, known = (op.operands[1], yes) if flag else (op.operands[2], no)
        return chosen if known is None else known
    if yes is not None and yes == no:
        return yes
    same = facts.root(op.operands[1]) is facts.root(op.operands[2])
    return op.operands[1] if same else None


def _logic(op: Op, operands: list[Any]) -> Any:
    decides = op.kind == "or"
    if decides in operands:
        return decides
    for known, other in zip(operands, reversed(op.operands), strict=True):
        if known is not None:
            return other
    return None


def _converted(op: Op, known: Any) -> Any:
    kind = op.result.dtype
    if known is None:
        return op.operands[0] if op.operands[0].dtype == kind else None
    if kind == "i1":
        return bool(known)
    if isinstance(known, bool):
        return float(known) if kind.startswith(("f", "b")) else int(known)
    return known if op.operands[0].dtype == kind else None


def _reduced(op: Op, operands: list[Any]) -> Any:
    """All or any of the same bool."""
    region = op.region
    if region is None or len(region.ops) != 1 or op.result.dtype != "i1":
        return None
    first, start = operands[0], operands[1]
    if region.ops[0].kind not in ("and", "or") or first is None or start is None:
        return None
    return (first and start) if region.ops[0].kind == "and" else (first or start)
