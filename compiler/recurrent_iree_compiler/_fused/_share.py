"""How many workgroups share the steps of one recurrence, and which stages they cut into parts.

A recurrence of few rows keeps one core busy. Several can work at it if each takes a part of the
lanes of a stage, and all meet where the next stage reads what they stored. A meeting takes about as
long as a core needs for 16 KB of weights, so stages that are shorter stay whole, and neighbours
that stay whole are one phase.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ._carried import segments
from ._elementwise import EXPENSIVE
from ._ir import ANY, Op
from ._levels import Loop
from ._machine import Machine
from ._reductions import units_of_reduction
from ._stages import Stages
from ._tiles import Tile

# Nanoseconds: a meeting, what must be gained to wake a pool of threads; one vector of weights, of a
# function, of the rest.
MEETING, WAKING = 250.0, 120_000.0
_WEIGHTS, _FUNCTION, _SIMPLE = 1.0, 8.0, 0.5
_SMALLEST_PART = 2 * MEETING
_WORTH = 1.25
_ANY_STEPS = 32
# Elements that each workgroup may compute for itself in a loop: they are on its stack.
_LOCAL = 256
_PARTS = (2, 4, 8, 16)
MOST_PARTS = 64


@dataclass(frozen=True)
class Work:
    """One loop of a step.

    Attributes:
        ns: how long it takes one core.
        units: into how many parts it can be cut.
        local: only later loops of the same step read what it stores, and that is little.
    """

    loop: Loop
    ns: float
    units: int
    local: bool

    def shared(self, parts: int) -> float:
        """Nanoseconds if `parts` workgroups share it."""
        pieces = -(-self.units // min(parts, self.units))
        return self.ns * pieces / self.units


@dataclass(frozen=True)
class Phase:
    """Loops between two meetings; `cut` says which of them are done in parts.

    Where nothing is cut, one workgroup does them, or each for itself: then nobody has to meet.
    """

    loops: tuple[Loop, ...]
    cut: tuple[bool, ...]
    parts: int
    by_each: bool = False


@dataclass(frozen=True)
class Sharing:
    """How a recurrence is shared.

    Attributes:
        parts: the number of workgroups that work at it.
        phases: what they do between meetings; empty for one workgroup.
        reason: why.
    """

    parts: int
    phases: tuple[Phase, ...]
    reason: str

    @property
    def text(self) -> str:
        """The choice as a line of the plan."""
        if self.parts == 1:
            return f"one workgroup: {self.reason}"
        return f"each step is shared by {self.parts} workgroups: {self.reason}"


@dataclass(frozen=True)
class Steps:
    """What a recurrence does.

    Attributes:
        count: of steps; `ANY` if it is not known.
        work: the loops of a step, in order.
        may_stop: steps may be left out, which takes a meeting to find out.
    """

    count: int
    work: tuple[Work, ...]
    may_stop: bool = False

    def alone(self) -> float:
        """Nanoseconds of a step on one core."""
        return sum(w.ns for w in self.work)

    def meetings(self, phases: tuple[Phase, ...]) -> int:
        """In a step."""
        return sum(not phase.by_each for phase in phases) + self.may_stop

    def together(self, phases: tuple[Phase, ...]) -> float:
        """Nanoseconds of a step that is shared."""
        known = {id(w.loop): w for w in self.work}
        total = MEETING * self.meetings(phases)
        for phase in phases:
            for loop, cut in zip(phase.loops, phase.cut, strict=True):
                total += known[id(loop)].shared(phase.parts if cut else 1)
        return total

    def figures(self, phases: tuple[Phase, ...]) -> str:
        """What sharing does, for the plan."""
        parts, count = sum(sum(phase.cut) for phase in phases), self.meetings(phases)
        return (
            f"{parts} of {len(self.work)} stages in parts, {count} meeting{'s' * (count > 1)} in "
            f"a step; about {_us(self.together(phases))} instead of {_us(self.alone())}"
        )


def choose_sharing(steps: Steps, machine: Machine, obstacle: str, forced: int | None) -> Sharing:
    """The number of workgroups for a recurrence, by the time that its steps would take.

    Args:
        steps: what it does.
        machine: what is known of the CPU.
        obstacle: what stands in the way of sharing, if anything does.
        forced: the choice of the caller; ``None`` leaves it to the cost model.
    """
    if obstacle:
        return Sharing(1, (), obstacle)
    if forced is not None:
        phases = _all_cut(steps.work, forced)
        if forced == 1 or all(phase.parts == 1 for phase in phases):
            why = "chosen by the caller" if forced == 1 else "no stage of the step has two parts"
            return Sharing(1, (), why)
        return Sharing(forced, phases, f"chosen by the caller; {steps.figures(phases)}")
    alone = steps.alone()
    plans = [
        _fastest(steps, n)
        for n in _PARTS
        if n == 2 or (n <= machine.cores and alone >= n * _SMALLEST_PART)
    ]
    best = min(plans, key=steps.together)
    together = steps.together(best)
    count = _ANY_STEPS if steps.count == ANY else steps.count
    if alone < together * _WORTH:
        return Sharing(1, (), f"a step of {_us(alone)} is too short to meet in it")
    if count * (alone - together) < WAKING:
        return Sharing(1, (), f"{count} steps of {_us(alone)} are too short to wake other threads")
    return Sharing(max(phase.parts for phase in best), best, steps.figures(best))


def obstacle(workgroups: int, any_rows: bool, machine: Machine) -> str:
    """Why a recurrence cannot be shared, or nothing."""
    if any_rows:
        return "the number of rows is not known, and may be enough for all cores"
    if workgroups > 1:
        return f"its rows are split over {workgroups} already"
    return "the target has one core" if machine.cores < 2 else ""


def measure(stages: Stages, loop: Loop, tile: Tile, machine: Machine) -> Work:
    """What `loop` costs, from the operations in it and the tile that it gets."""
    inside = (op for op in stages.cell.ops if any(v in loop.inside for v in op.results))
    lanes = machine.lanes(32)
    stored = [root.value for root in loop.roots]
    local = not {*stored} & {*stages.cell.outputs()} and sum(v.size for v in stored) <= _LOCAL
    ns = sum(_nanoseconds(op, lanes) for op in inside)
    return Work(loop, ns, _units(stages, loop, tile), local)


def _nanoseconds(op: Op, lanes: int) -> float:
    vectors = op.result.size / lanes
    if op.kind == "dot_general":
        shape = op.operands[0].shape
        return _WEIGHTS * vectors * math.prod(shape[a] for a in op.attrs["lhs_contract"])
    if op.kind == "reduce":
        return _SIMPLE * op.operands[0].size / lanes
    return vectors * (_FUNCTION if op.kind in EXPENSIVE else _SIMPLE)


def _units(stages: Stages, loop: Loop, tile: Tile) -> int:
    if loop.kind == "reduce" and loop.roots[0].op is not None:
        return units_of_reduction(loop.roots[0].op, tile.lanes, stages)
    if loop.kind != "map" or len(loop.space) == 0:
        return 1
    inner = sum(s.tiles for s in segments(loop.space[-1], tile.lanes)) if tile.lanes else 1
    outer = loop.space[0] if len(loop.space) > 1 or not tile.lanes else 1
    return max(inner, outer)


def _levels(work: Sequence[Work]) -> list[list[Work]]:
    return [list(group) for _, group in groupby(work, key=lambda w: w.loop.level)]


def _all_cut(work: Sequence[Work], parts: int) -> tuple[Phase, ...]:
    """Every level in parts that has a loop with more than one."""
    return _phases(work, parts, [any(w.units > 1 for w in level) for level in _levels(work)])


def _fastest(steps: Steps, parts: int) -> tuple[Phase, ...]:
    """Cut what pays for its meeting: levels whose neighbours stay whole pay for two."""
    work = steps.work
    levels = _levels(work)
    saved = [sum(w.ns - w.shared(parts) for w in level) for level in levels]
    cut = [each > MEETING for each in saved]
    best = _phases(work, parts, cut)
    for number in sorted(range(len(levels)), key=saved.__getitem__):
        without = [c and n != number for n, c in enumerate(cut)]
        fewer = _phases(work, parts, without)
        if steps.together(fewer) < steps.together(best):
            best, cut = fewer, without
    return best


def _phases(work: Sequence[Work], parts: int, cut: Sequence[bool]) -> tuple[Phase, ...]:
    """One phase for each level that is cut; the levels between them are joined."""
    phases: list[Phase] = []
    levels = _levels(work)
    for is_cut, run in groupby(range(len(levels)), key=cut.__getitem__):
        numbers = list(run)
        if is_cut:
            for level in (levels[n] for n in numbers):
                loops = tuple(w.loop for w in level)
                phases.append(Phase(loops, tuple(w.units > 1 for w in level), parts))
        else:
            joined = [w for n in numbers for w in levels[n]]
            by_each = all(w.local for w in joined) and numbers[-1] < len(levels) - 1
            loops = tuple(w.loop for w in joined)
            phases.append(Phase(loops, (False,) * len(loops), 1, by_each))
    return tuple(phases)


def _us(ns: float) -> str:
    return f"{ns / 1000:.0f} us" if ns >= 10_000 else f"{ns / 1000:.2g} us"
