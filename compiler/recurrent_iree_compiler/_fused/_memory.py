"""The memory of a kernel: where each value of its cell lies, outside and in a workgroup."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from ._any_rows import is_whole, row_size
from ._buffers import Binding, Buffer, inside, join, outside
from ._index import variable
from ._ir import Cell, Value
from ._stages import Stages


class Memory:
    """Buffers for what `cell` takes, gives, keeps from step to step and stores in a step.

    Attributes:
        consts, inits, xs: what the kernel reads.
        lasts, ys: what it gives.
        scratch: what the loops of a step store for each other.
        homes: where each value is read.
        targets: the places to which each value is written.
    """

    def __init__(
        self,
        cell: Cell,
        stages: Stages,
        kept: Container[int],
        capacity: int,
        join_consts: set[Value] | None,
    ) -> None:
        self.cell = cell
        self.stages = stages
        self.capacity = capacity
        self.targets: dict[Value, list[Buffer]] = defaultdict(list)
        self.homes: dict[Value, Buffer] = {}
        self._place_states(kept)
        self._place_steps()
        self.homes.update({b.value: b for b in [*self.consts, *self.states, *self.xs]})
        self._place_scratch()
        for buffer in [*self.consts, *self.inits, *self.lasts, *self.xs, *self.ys]:
            buffer.name = f"%{buffer.role}{buffer.index}"
            if is_whole(cell, buffer.value):
                buffer.sizes = ("%batch", *buffer.sizes)
                buffer.each = buffer.row_step = row_size(cell, buffer.value)
                buffer.shape = tuple(1 if n == cell.rows else n for n in buffer.shape)
        self._join(join_consts)

    def _place_states(self, kept: Container[int]) -> None:
        """The states that change, twice, and where they come from and go to."""
        cell, batch = self.cell, self.stages.batch.get
        parity, other = variable("%now"), variable("%next")
        self.consts = [outside(v, "const", n, batch(v)) for n, v in enumerate(cell.consts)]
        self.inits: list[Buffer] = []
        self.lasts: list[Buffer] = []
        self.states: list[Buffer] = []
        for n, value in enumerate(cell.carry):
            if n in kept:
                continue
            self.inits.append(outside(value, "init", n, batch(value)))
            self.lasts.append(outside(value, "last", n, batch(value)))
            state = inside(value, "state", n, batch(value), self.capacity)
            after = inside(value, "state", n, batch(value), self.capacity)
            state.name = after.name = f"%state{n}"
            state.base, after.base = parity * (state.length // 2), other * (state.length // 2)
            self.states.append(state)
            self.targets[cell.carry_out[n]].append(after)

    def _place_steps(self) -> None:
        """The inputs and outputs of all steps."""
        cell, batch = self.cell, self.stages.batch.get
        self.xs = [
            outside(v, "x", n, batch(v), cell.length, v in cell.batch_first)
            for n, v in enumerate(cell.xs)
        ]
        self.ys = [
            outside(v, "y", n, batch(v), cell.length, n in cell.ys_batch_first)
            for n, v in enumerate(cell.ys)
        ]
        for buffer in [*self.xs, *self.ys]:
            whole = is_whole(cell, buffer.value)
            step = row_size(cell, buffer.value) if whole else buffer.time_step
            buffer.base = (variable("%place") if whole else variable("%time")) * step
        for buffer, value in zip(self.ys, cell.ys, strict=True):
            self.targets[value].append(buffer)

    def _place_scratch(self) -> None:
        """What loops store that is no state."""
        self.scratch: list[Buffer] = []
        for value in self.stages.reasons:
            after = [b for b in self.targets[value] if b.role == "state"]
            if after:
                self.homes[value] = after[0]
                continue
            batch = self.stages.batch.get(value)
            buffer = inside(value, "scratch", len(self.scratch), batch, self.capacity)
            buffer.name = f"%scratch{buffer.index}"
            self.scratch.append(buffer)
            self.targets[value].append(buffer)
            self.homes[value] = buffer

    def _join(self, join_consts: set[Value] | None) -> None:
        """One binding for each tensor; or, where that is too many, one for each kind of them."""
        roles = [self.consts, self.inits, self.lasts, self.ys]
        if join_consts is None:
            single = [[Binding(b.name, [b]) for b in buffers] for buffers in roles]
        else:
            self.consts = [b for b in self.consts if b.value in join_consts]
            roles[0] = self.consts
            single = [join(b[0].role, b) if b else [] for b in roles]
        self.const_bindings, self.init_bindings, *results = single
        self.result_bindings = [b for bindings in results for b in bindings]
