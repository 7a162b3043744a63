"""The whole kernel: its rows, its memory, who shares its steps, and the loop over time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ._any_rows import AnyRows
from ._buffers import Buffer, aligned, index_of
from ._cuts import Cut
from ._evaluate import Evaluator
from ._finished import Idle, find_idle
from ._index import Affine, variable
from ._invariant import passed_through
from ._ir import Cell, Value
from ._machine import Machine
from ._memory import Memory
from ._narrow import Narrow
from ._nests import Nests, Point
from ._order import prefetched, shares_rather, splits_lanes, turns
from ._packing import Pack, Packer
from ._share import Sharing, Steps, choose_sharing, measure, obstacle
from ._stages import Stages
from ._step import Step
from ._team import Team
from ._tiles import workgroup_rows
from ._time import emit_loop
from ._together import emit_together
from ._writer import Writer

STACK = 16 << 10


class Kernel:
    """Emits the body of the kernel for `cell`; afterwards its parts are there to be read."""

    def __init__(
        self,
        cell: Cell,
        stages: Stages,
        machine: Machine,
        join_consts: set[Value] | None = None,
        narrow: Mapping[Value, Narrow] | None = None,
        share: int | None = None,
    ) -> None:
        self.cell = cell
        self.narrow = narrow or {}
        self.stages = stages
        self.machine = machine
        self.w = Writer()
        batch = {v.shape[a] for v, a in stages.batch.items()}
        self.batch = batch.pop() if batch else 1
        self.any_rows = AnyRows(self, _row_bytes(cell, stages)) if cell.rows else None
        self.by_lanes = splits_lanes(cell, stages, machine)
        found = find_idle(cell, stages) if cell.length != 1 else ""
        self.idle = found if isinstance(found, Idle) else None
        self.never_idle = "" if isinstance(found, Idle) else found
        split = self._workgroup_rows()
        together = self.any_rows is None and (
            share not in (None, 1) or shares_rather(cell, stages, machine, self.batch)
        )
        self._lay_out(self.batch if together else split, join_consts)
        self.sharing = self._share(share)
        if together and self.sharing.parts == 1 and split < self.batch:
            self._lay_out(split, join_consts)
            self.sharing = self._share(share)
        self.team: Team | None = None
        self._emit()

    def _lay_out(self, rows: int, join_consts: set[Value] | None) -> None:
        """Workgroups of `rows` rows, and their memory and loops."""
        cell, stages, machine = self.cell, self.stages, self.machine
        self.rows = self.capacity = rows
        self.workgroups = machine.cores if self.by_lanes else -(-self.batch // rows)
        if self.any_rows is not None:
            self.rows, self.capacity = self.any_rows.block, self.any_rows.capacity
        self.first_row = variable("%row0") if self.workgroups > 1 else Affine()
        self.memory = Memory(cell, stages, passed_through(cell), self.capacity, join_consts)
        self.nests = Nests(self.w, stages, self.memory.homes, self.rows, self.first_row)
        self.nests.odd = "%odd" if turns(cell, stages, machine) else ""
        if self.by_lanes:
            self.nests.cut = Cut(self.w, "%group", machine.cores)
        self.ahead = prefetched(cell, stages, machine)
        self.step = Step(self)

    def _workgroup_rows(self) -> int:
        if self.cell.carry:
            return workgroup_rows(self.batch, _row_bytes(self.cell, self.stages), self.machine)
        return self.batch if self.by_lanes else -(-self.batch // self.machine.cores)

    @property
    def packs(self) -> list[Pack]:
        """The weights that it reads packed."""
        return self.step.packs

    @property
    def own(self) -> list[Buffer]:
        """What a workgroup has for itself, or together with those that share its steps."""
        return [*self.memory.states, *(b for b in self.memory.scratch if b not in self.local)]

    @property
    def local(self) -> list[Buffer]:
        """What each of the workgroups that share steps computes for itself, on its stack."""
        loops = [loop for p in self.sharing.phases if p.by_each for loop in p.loops]
        values = {root.value for loop in loops for root in loop.roots}
        return [b for b in self.memory.scratch if b.value in values]

    def own_bytes(self) -> int:
        """Bytes of one workgroup, each buffer at a multiple of 64."""
        return sum(aligned(b) for b in self.own)

    def _share(self, forced: int | None) -> Sharing:
        why = obstacle(self.workgroups, self.any_rows is not None, self.machine)
        loops = [] if why else self.stages.loops
        work = [measure(self.stages, x, self.step.tile(x), self.machine) for x in loops]
        steps = Steps(self.cell.length, tuple(work), self.idle is not None)
        return choose_sharing(steps, self.machine, why, forced)

    def _emit(self) -> None:
        if self.sharing.parts > 1:
            self.team = emit_together(self, self.idle)
        elif self.any_rows is not None:
            self.any_rows.emit(self._emit_rows)
        else:
            self._emit_rows()

    def _emit_rows(self) -> None:
        self.copy_in()
        self.copy_out(emit_loop(self, self.idle))

    def copy_in(self) -> None:
        """The first states."""
        for init, state in zip(self.memory.inits, self.memory.states, strict=True):
            self._copy(init, state, Affine())

    def copy_out(self, last: Affine) -> None:
        """The last states, which lie in the half `last`."""
        for state, result in zip(self.memory.states, self.memory.lasts, strict=True):
            self._copy(state, result, last * (state.length // 2))

    def _copy(self, source: Buffer, target: Buffer, base: Affine) -> None:
        """The rows of this workgroup from `source` to `target`; `base` is that of the state."""
        value = source.value
        space = self.stages.lane_shape(value)
        tile = self.step.copy_tile(value)
        saved = source.base, target.base
        state = source if source.role == "state" else target
        state.base = base

        def body(ev: Evaluator, points: list[Point]) -> None:
            index = index_of(value, self.stages.batch.get(value), points[0])
            ev.write(target, target.at(index), ev.read(source, source.at(index)))

        self.nests.over(None, space, self.stages.has_rows(value), tile, body, Packer([], 1))
        source.base, target.base = saved


def _row_bytes(cell: Cell, stages: Stages) -> int:
    """What one row keeps in memory: its states twice, and what the loops store."""
    values = [*cell.carry, *cell.carry, *(v for v in stages.reasons if v not in cell.carry_out)]
    return sum(4 * math.prod(stages.lane_shape(v)) for v in values if stages.has_rows(v))
