"""The loop over time of workgroups that share each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._cuts import Cut
from ._index import Affine, variable
from ._share import Phase
from ._team import Team
from ._time import places

if TYPE_CHECKING:
    from ._kernel import Kernel


def emit_together(kernel: Kernel) -> Team:
    """All steps: in each, one place to meet for each phase. States are copied by one workgroup."""
    w, cell, sharing = kernel.w, kernel.cell, kernel.sharing
    phases = sharing.phases
    first, last = len(phases), len(phases) + 1
    team = Team(w, sharing.parts, last + 1, kernel.machine.architecture)
    once = w.constant(0, "i32")
    team.arrive()
    team.meet(first, 1, once, lambda _: kernel.copy_in())
    # Whoever comes late goes on where the others are.
    begun = team.completed(len(phases) - 1, phases[-1].parts)
    steps = "%steps" if cell.any_length else w.index(cell.length)
    w.line(f"scf.for %t = {begun} to {steps} step {w.index(1)} {{")
    with w.scope():
        w.line(f"%now = arith.remui %t, {w.index(2)} : index")
        places(kernel)
        step = w.op("arith.index_cast %t : index to i32")
        for number, phase in enumerate(phases):
            team.meet(number, phase.parts, step, lambda part, p=phase: _phase(kernel, p, part))
    w.line("}")
    team.claim(last, w.index(0), once, lambda _: kernel.copy_out(_half(kernel)))
    return team


def _phase(kernel: Kernel, phase: Phase, part: str) -> None:
    w = kernel.w
    for loop, cut in zip(phase.loops, phase.cut, strict=True):
        if phase.parts == 1:
            kernel.emit_stage(loop)
        elif cut:
            kernel.nests.cut = Cut(w, part, phase.parts)
            kernel.emit_stage(loop)
            kernel.nests.cut = None
        else:
            first = w.op(f"arith.cmpi eq, {part}, {w.index(0)} : index")
            w.line(f"scf.if {first} {{")
            with w.scope():
                kernel.emit_stage(loop)
            w.line("}")


def _half(kernel: Kernel) -> Affine:
    """The half of the states that holds the last ones."""
    if not kernel.cell.any_length:
        return Affine(kernel.cell.length % 2)
    kernel.w.line(f"%last = arith.remui %steps, {kernel.w.index(2)} : index")
    return variable("%last")
