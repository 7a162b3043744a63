"""The whole kernel: bindings, scratch, the loop over time, and the loops of one step in it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from ._any_rows import AnyRows, is_whole, row_size
from ._buffers import Binding, Buffer, index_of, inside, join, outside
from ._chain import start_of
from ._cuts import Cut
from ._evaluate import Evaluator, Index, Names, NotVectorizable
from ._finished import Idle, find_idle
from ._index import Affine, variable
from ._invariant import passed_through
from ._ir import Cell, Value
from ._machine import Machine
from ._narrow import Narrow
from ._nests import Nests, Point
from ._order import runs_alone, splits_lanes, turns
from ._packing import Pack, Packer
from ._products import Products
from ._reductions import Reduction
from ._share import Sharing, Steps, choose_sharing, measure, obstacle
from ._stages import Loop, Root, Stages
from ._team import Team
from ._tiles import MOST_ROWS, Tile, choose_tile, workgroup_rows
from ._time import emit_loop
from ._together import emit_together
from ._writer import Writer, storage_dtype

_BITS = {"i8": 32, "i16": 32, "i32": 32, "i64": 64, "f32": 32, "f64": 64, "bf16": 32, "f16": 32}
STACK = 16 << 10


@dataclass
class Made:
    """One loop as it was emitted, for the explanation."""

    loop: Loop
    tile: Tile
    packs: list[Pack]


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
        self.join_consts = join_consts
        self.stages = stages
        self.machine = machine
        self.w = Writer()
        self.packs: list[Pack] = []
        self.made: list[Made] = []
        batch = {v.shape[a] for v, a in stages.batch.items()}
        self.batch = batch.pop() if batch else 1
        self.any_rows = AnyRows(self, _row_bytes(cell, stages)) if cell.rows else None
        self.by_lanes = splits_lanes(cell, stages, machine)
        self.rows = self.capacity = self._workgroup_rows()
        self.workgroups = machine.cores if self.by_lanes else -(-self.batch // self.rows)
        if self.any_rows is not None:
            self.rows, self.capacity = self.any_rows.block, self.any_rows.capacity
        self.kept = passed_through(cell)
        self.targets: dict[Value, list[Buffer]] = defaultdict(list)
        self.homes: dict[Value, Buffer] = {}
        self.first_row = variable("%row0") if self.workgroups > 1 else Affine()
        found = find_idle(cell, stages) if cell.length != 1 else ""
        self.idle = found if isinstance(found, Idle) else None
        self.never_idle = "" if isinstance(found, Idle) else found
        self._bind()
        self.nests = Nests(self.w, stages, self.homes, self.rows, self.first_row)
        self.nests.odd = "%odd" if turns(cell, stages, machine) else ""
        if self.by_lanes:
            self.nests.cut = Cut(self.w, "%group", machine.cores)
        self.sharing = self._share(share)
        self.team: Team | None = None
        self._emit()

    def _bind(self) -> None:
        cell, stages = self.cell, self.stages
        batch = stages.batch.get
        time = variable("%time")
        parity, other = variable("%now"), variable("%next")
        self.consts = [outside(v, "const", n, batch(v)) for n, v in enumerate(cell.consts)]
        self.states, self.inits, self.lasts, self.nexts = [], [], [], []
        for n, value in enumerate(cell.carry):
            if n in self.kept:
                continue
            self.inits.append(outside(value, "init", n, batch(value)))
            self.lasts.append(outside(value, "last", n, batch(value)))
            state = inside(value, "state", n, batch(value), self.capacity)
            after = inside(value, "state", n, batch(value), self.capacity)
            state.name = after.name = f"%state{n}"
            state.base, after.base = parity * (state.length // 2), other * (state.length // 2)
            self.states.append(state)
            self.nexts.append(after)
            self.targets[cell.carry_out[n]].append(after)
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
            buffer.base = (variable("%place") if whole else time) * step
        for buffer, value in zip(self.ys, cell.ys, strict=True):
            self.targets[value].append(buffer)
        self.homes.update({b.value: b for b in [*self.consts, *self.states, *self.xs]})
        self.scratch = []
        for value in stages.reasons:
            after = [b for b in self.targets[value] if b.role == "state"]
            if after:
                self.homes[value] = after[0]
                continue
            buffer = inside(value, "scratch", len(self.scratch), batch(value), self.capacity)
            buffer.name = f"%scratch{buffer.index}"
            self.scratch.append(buffer)
            self.targets[value].append(buffer)
            self.homes[value] = buffer
        for buffer in [*self.consts, *self.inits, *self.lasts, *self.xs, *self.ys]:
            buffer.name = f"%{buffer.role}{buffer.index}"
            if is_whole(cell, buffer.value):
                buffer.sizes = ("%batch", *buffer.sizes)
                buffer.each = buffer.row_step = row_size(cell, buffer.value)
                buffer.shape = tuple(1 if n == cell.rows else n for n in buffer.shape)
        self._join()

    def _join(self) -> None:
        """One binding for each tensor; or, where that is too many, one for each kind of them."""
        roles = [self.consts, self.inits, self.lasts, self.ys]
        if self.join_consts is None:
            single = [[Binding(b.name, [b]) for b in buffers] for buffers in roles]
        else:
            self.consts = [b for b in self.consts if b.value in self.join_consts]
            roles[0] = self.consts
            single = [join(b[0].role, b) if b else [] for b in roles]
        self.const_bindings, self.init_bindings, *results = single
        self.result_bindings = [b for bindings in results for b in bindings]

    def _workgroup_rows(self) -> int:
        if self.cell.carry:
            return workgroup_rows(self.batch, _row_bytes(self.cell, self.stages), self.machine)
        return self.batch if self.by_lanes else -(-self.batch // self.machine.cores)

    @property
    def own(self) -> list[Buffer]:
        """What a workgroup has for itself, or together with those that share its steps."""
        return [*self.states, *(b for b in self.scratch if b not in self.local)]

    @property
    def local(self) -> list[Buffer]:
        """What each of the workgroups that share steps computes for itself, on its stack."""
        loops = [loop for p in self.sharing.phases if p.by_each for loop in p.loops]
        values = {root.value for loop in loops for root in loop.roots}
        return [b for b in self.scratch if b.value in values]

    def own_bytes(self) -> int:
        """Bytes of one workgroup, each buffer at a multiple of 64."""
        return sum(aligned(b) for b in self.own)

    def _share(self, forced: int | None) -> Sharing:
        why = obstacle(self.workgroups, self.any_rows is not None, self.machine)
        loops = [] if why else self.stages.loops
        work = [measure(self.stages, x, self.loop_tile(x), self.machine) for x in loops]
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
        for init, state in zip(self.inits, self.states, strict=True):
            self._copy(init, state, Affine())

    def copy_out(self, last: Affine) -> None:
        """The last states, which lie in the half `last`."""
        for state, result in zip(self.states, self.lasts, strict=True):
            self._copy(state, result, last * (state.length // 2))

    def _copy(self, source: Buffer, target: Buffer, base: Affine) -> None:
        """The rows of this workgroup from `source` to `target`; `base` is that of the state."""
        value = source.value
        space = self.stages.lane_shape(value)
        tile = self.copy_tile(value)
        saved = source.base, target.base
        state = source if source.role == "state" else target
        state.base = base

        def body(ev: Evaluator, points: list[Point]) -> None:
            index = index_of(value, self.stages.batch.get(value), points[0])
            ev.write(target, target.at(index), ev.read(source, source.at(index)))

        self.nests.over(None, space, self.stages.has_rows(value), tile, body, Packer([], 1))
        source.base, target.base = saved

    def emit_stages(self) -> None:
        """All loops of a step."""
        for alone, group in groupby(self.stages.loops, self._is_alone):
            loops = list(group)
            if alone or len(loops) == 1:
                for loop in loops:
                    self.emit_stage(loop)
            else:
                self.nests.in_blocks(MOST_ROWS, lambda loops=loops: self._each(loops))

    def _each(self, loops: list[Loop]) -> None:
        for loop in loops:
            self.emit_stage(loop)

    def _is_alone(self, loop: Loop) -> bool:
        any_rows = self.any_rows is not None
        return any_rows or runs_alone(loop, self.cell, self.stages, self.rows)

    def emit_stage(self, loop: Loop) -> None:
        """Emit one loop in vectors, or element by element where its lanes do not allow vectors."""
        w = self.w
        lines, packs = len(w.lines), len(self.packs)
        tile = self.loop_tile(loop)
        try:
            self._emit_loop(loop, tile)
        except NotVectorizable as reason:
            del w.lines[lines:], self.packs[packs:]
            tile = Tile(0, 1, tile.sums, f"element by element: {reason}")
            self._emit_loop(loop, tile)
        self.made.append(Made(loop, tile, self.packs[packs:]))

    def loop_tile(self, loop: Loop) -> Tile:
        """The tile of a loop, before it is known whether it can be emitted in vectors."""
        value = loop.roots[0].value
        if loop.kind == "reduce":
            native = self._tile(value, loop.space, 0)
            rows = min(self.rows, 4) if loop.rows else 1
            return Tile(native.lanes, rows, 0, "reduction: lanes first, then across them")
        if loop.kind == "assemble":
            return self._tile(value, loop.space, 0)
        return self._tile(value, loop.space, self._sums(loop))

    def _tile(self, value: Value, space: tuple[int, ...], sums: int) -> Tile:
        if not space:
            return Tile(0, 4 if sums and self.stages.has_rows(value) else 1, sums, "one element")
        rows = self.rows if self.stages.has_rows(value) else (1, *space)[-2]
        bits = _BITS[storage_dtype(value.dtype)]
        return choose_tile(self.machine, bits, sums, rows, space[-1])

    def copy_tile(self, value: Value) -> Tile:
        """The tile in which `value` is copied from one place to another."""
        return self._tile(value, self.stages.lane_shape(value), 0)

    def _sums(self, loop: Loop) -> int:
        """How many products with lanes run at once in `loop`."""
        block = self.nests.block(Affine(), 1)
        ev = Evaluator(self.w, self.stages, self.homes, loop, block, 2)
        lanes = [variable(f"%axis{n}") for n in range(len(loop.space))]
        if lanes:
            lanes[-1] = lanes[-1] + Affine(lane=1)
        try:
            wanted = ev.collect(lambda: self._ask(ev, loop, [lanes]))
        except NotVectorizable:
            return 0
        starts = {start_of(op) for op, _ in wanted}
        sizes = Counter(
            tuple(op.operands[0].shape[a] for a in op.attrs["lhs_contract"])
            for op, _ in wanted
            if op.result not in starts
        )
        return max(sizes.values(), default=0)

    def _ask(self, ev: Evaluator, loop: Loop, points: list[Point]) -> None:
        for lanes in points:
            for root in loop.roots:
                ev.get(root.value, index_of(root.value, self.stages.batch.get(root.value), lanes))

    def _emit_loop(self, loop: Loop, tile: Tile) -> None:
        if loop.kind == "reduce":
            self._reduce(loop, tile)
        elif loop.kind == "assemble":
            for root in loop.roots:
                self._assemble(root, tile)
        else:
            self._map(loop, tile)

    def _map(self, loop: Loop, tile: Tile) -> None:
        packer = Packer(self.packs, self.machine.lanes(32), self.narrow)

        def body(ev: Evaluator, points: list[Point]) -> None:
            wanted = ev.collect(lambda: self._ask(ev, loop, points))
            Products(ev, packer).emit(wanted)
            for lanes in points:
                for root in loop.roots:
                    batch = self.stages.batch.get(root.value)
                    index = index_of(root.value, batch, lanes)
                    self._store(ev, root.value, index, ev.get(root.value, index))

        self.nests.over(loop, loop.space, loop.rows, tile, body, packer)

    def _store(self, ev: Evaluator, value: Value, index: Index, names: Names) -> None:
        for target in self.targets[value]:
            ev.write(target, target.at(index), names)

    def _reduce(self, loop: Loop, tile: Tile) -> None:
        op = loop.roots[0].op
        assert op is not None

        def body(ev: Evaluator) -> None:
            Reduction(ev, op, tile.lanes, self._store, self.nests.cut).emit()

        self.nests.row_blocks(loop, loop.rows, tile, body, 0)

    def _assemble(self, root: Root, tile: Tile) -> None:
        """A value put together from parts: each part is copied to its place."""
        op = root.op
        assert op is not None
        parts: list[tuple[Value, tuple[int, ...]]] = []
        rank = len(root.value.shape)
        if op.kind == "concatenate":
            start = 0
            for operand in op.operands:
                parts.append(
                    (operand, tuple(start if a == op.attrs["dim"] else 0 for a in range(rank)))
                )
                start += operand.shape[op.attrs["dim"]]
        else:
            self._part(root.value, op.operands[1], (0,) * rank, fill=True)
            parts.append((op.operands[0], op.attrs["low"]))
        for operand, starts in parts:
            self._part(root.value, operand, starts, fill=False)

    def _part(self, whole: Value, part: Value, starts: tuple[int, ...], fill: bool) -> None:
        shape = whole if fill else part
        batch = self.stages.batch.get(whole)
        space = tuple(n for a, n in enumerate(shape.shape) if a != batch and n != 1)
        tile = self._tile(whole, space, 0)

        def body(ev: Evaluator, points: list[Point]) -> None:
            index = index_of(shape, batch, points[0])
            names = ev.get(part, () if fill else index)
            there = tuple(i.plus(s) for i, s in zip(index, starts, strict=True))
            self._store(ev, whole, there, names)

        self.nests.over(None, space, self.stages.has_rows(whole), tile, body, Packer([], 1))


def _row_bytes(cell: Cell, stages: Stages) -> int:
    """What one row keeps in memory: its states twice, and what the loops store."""
    values = [*cell.carry, *cell.carry, *(v for v in stages.reasons if v not in cell.carry_out)]
    return sum(4 * math.prod(stages.lane_shape(v)) for v in values if stages.has_rows(v))


def aligned(buffer: Buffer) -> int:
    """The bytes of `buffer`, rounded up to a cache line."""
    size = {"i8": 1, "i16": 2, "bf16": 2, "f16": 2, "i64": 8, "f64": 8}.get(buffer.storage, 4)
    return -(-buffer.length * size // 64) * 64
