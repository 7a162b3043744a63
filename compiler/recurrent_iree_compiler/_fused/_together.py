"""The loop over time of workgroups that share each step."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from ._cuts import Cut
from ._finished import Idle
from ._index import Affine, variable
from ._share import Phase
from ._team import Team
from ._time import all_rows, places, repeat

if TYPE_CHECKING:
    from ._kernel import Kernel

# What is known of a step, besides its counters: steps that ran before it, or before the next one,
# whether it is left out, and how many in a row could be.
_RAN, _RAN_AFTER, _SKIPS, _IDLE = range(4)


def emit_together(kernel: Kernel, idle: Idle | None) -> Team:
    """All steps: in each, one place to meet for each phase. States are copied by one workgroup."""
    w, phases = kernel.w, _met(kernel)
    first, last, control = (len(phases) + n for n in range(3))
    team = Team(w, kernel.sharing.parts, control + 1, 2, kernel.machine.architecture)
    once = w.constant(0, "i32")
    team.arrive()
    team.meet(first, 1, once, lambda _: kernel.copy_in())
    if idle is None:
        _every_step(kernel, team)
    else:
        _steps_that_change(kernel, team, control, idle)
    team.claim(last, w.index(0), once, lambda _: kernel.copy_out(_half(kernel, team)))
    return team


def _every_step(kernel: Kernel, team: Team) -> None:
    """Whoever comes late goes on where the others are."""
    w, phases = kernel.w, _met(kernel)
    begun = team.completed(len(phases) - 1, phases[-1].parts)
    w.line(f"scf.for %t = {begun} to {_steps(kernel)} step {w.index(1)} {{")
    with w.scope():
        w.line(f"%now = arith.remui %t, {w.index(2)} : index")
        places(kernel)
        _phases(kernel, team, w.op("arith.index_cast %t : index to i32"))
    w.line("}")


def _steps_that_change(kernel: Kernel, team: Team, control: int, idle: Idle) -> None:
    """Before each step one workgroup finds out whether it is left out, and writes that down.

    There is room for two steps. Who reads what was written later than for its own step sees that by
    the counter of `control`, and goes on where the others are.
    """
    w = kernel.w
    zero, one = w.index(0), w.index(1)
    again, t, after = (w.fresh() for _ in range(3))
    w.line(f"{again} = scf.while ({t} = {zero}) : (index) -> index {{")
    w.line(f"  {after} = arith.cmpi ult, {t}, {_steps(kernel)} : index")
    w.line(f"  scf.condition({after}) {t} : index")
    w.line("} do {")
    w.line("^bb0(%t: index):")
    with w.scope():
        step = w.op("arith.index_cast %t : index to i32")
        half = w.op(f"arith.remui %t, {w.index(2)} : index")
        team.meet(control, 1, step, lambda _: _decide(kernel, team, idle, half))
        ran, skips = team.look(half, _RAN), team.look(half, _SKIPS)
        begun = team.completed(control, 1)
        following = w.op(f"arith.addi %t, {one} : index")
        is_now = w.op(f"arith.cmpi eq, {begun}, {following} : index")
        runs = w.op(f"arith.cmpi eq, {skips}, {w.constant(0, 'i32')} : i32")
        w.line(f"scf.if {w.op(f'arith.andi {is_now}, {runs} : i1')} {{")
        with w.scope():
            _now(kernel, ran)
            places(kernel)
            _phases(kernel, team, ran)
        w.line("}")
        newest = w.op(f"arith.subi {begun}, {one} : index")
        w.line(f"scf.yield {w.op(f'arith.maxui {following}, {newest} : index')} : index")
    w.line("}")


def _decide(kernel: Kernel, team: Team, idle: Idle, half: str) -> None:
    """Write down whether the step is left out; then its outputs are those of the step before."""
    w = kernel.w
    other = w.op(f"arith.subi {w.index(1)}, {half} : index")
    ran = team.look(other, _RAN_AFTER)
    in_a_row = team.look(other, _IDLE)
    _now(kernel, ran)
    places(kernel)
    flag = all_rows(kernel, idle)
    limit = w.constant(idle.after, "i32")
    enough = w.op(f"arith.cmpi uge, {in_a_row}, {limit} : i32")
    skip = w.op(f"arith.andi {flag}, {enough} : i1")
    w.line(f"scf.if {skip} {{")
    with w.scope():
        for buffer in kernel.memory.ys:
            repeat(kernel, buffer)
    w.line("}")
    zero, one = w.constant(0, "i32"), w.constant(1, "i32")
    skips = w.op(f"arith.select {skip}, {one}, {zero} : i32")
    runs = w.op(f"arith.subi {one}, {skips} : i32")
    more = w.op(f"arith.addi {in_a_row}, {one} : i32")
    team.note(half, _RAN, ran)
    team.note(half, _RAN_AFTER, w.op(f"arith.addi {ran}, {runs} : i32"))
    team.note(half, _SKIPS, skips)
    team.note(half, _IDLE, w.op(f"arith.select {flag}, {more}, {zero} : i32"))


def _now(kernel: Kernel, ran: str) -> None:
    """The half of the states that is read, after `ran` steps."""
    w = kernel.w
    odd = w.op(f"arith.remui {ran}, {w.constant(2, 'i32')} : i32")
    w.line(f"%now = arith.index_cast {odd} : i32 to index")


def _met(kernel: Kernel) -> list[Phase]:
    """The phases after which workgroups meet."""
    return [phase for phase in kernel.sharing.phases if not phase.by_each]


def _phases(kernel: Kernel, team: Team, step: str) -> None:
    """What each workgroup does for itself may be read too late, by one that has been left behind.

    It then computes something else, and finds all parts claimed that would read that.
    """
    places = count()
    for phase in kernel.sharing.phases:
        if phase.by_each:
            _phase(kernel, phase, "")
        else:
            number = next(places)
            team.meet(number, phase.parts, step, lambda part, p=phase: _phase(kernel, p, part))


def _phase(kernel: Kernel, phase: Phase, part: str) -> None:
    w = kernel.w
    for loop, cut in zip(phase.loops, phase.cut, strict=True):
        if phase.parts == 1:
            kernel.step.emit_stage(loop)
        elif cut:
            kernel.nests.cut = Cut(w, part, phase.parts)
            kernel.step.emit_stage(loop)
            kernel.nests.cut = None
        else:
            first = w.op(f"arith.cmpi eq, {part}, {w.index(0)} : index")
            w.line(f"scf.if {first} {{")
            with w.scope():
                kernel.step.emit_stage(loop)
            w.line("}")


def _steps(kernel: Kernel) -> str:
    return "%steps" if kernel.cell.any_length else kernel.w.index(kernel.cell.length)


def _half(kernel: Kernel, team: Team) -> Affine:
    """The half of the states that holds the last ones."""
    w, cell = kernel.w, kernel.cell
    two = w.index(2)
    if kernel.idle is not None:
        back = w.op(f"arith.addi {_steps(kernel)}, {w.index(1)} : index")
        ran = team.look(w.op(f"arith.remui {back}, {two} : index"), _RAN_AFTER)
        _now(kernel, ran)
        return variable("%now")
    if not cell.any_length:
        return Affine(cell.length % 2)
    w.line(f"%last = arith.remui %steps, {two} : index")
    return variable("%last")
