"""Nests of loops: over the lanes of a value in tiles, and over rows in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ._buffers import Buffer
from ._carried import segments
from ._cuts import Cut, turned
from ._evaluate import Block, Evaluator
from ._index import Affine
from ._ir import Value
from ._levels import Loop
from ._packing import Packer
from ._stages import Stages
from ._tiles import Tile
from ._writer import Writer

Point = list[Affine]


@dataclass
class Nests:
    """Writes nests of loops to `w`; what a body reads and writes is looked up in `homes`.

    Attributes:
        rows: how many rows one workgroup has.
        first_row: the first of them in the whole batch.
        first_local: the place in this workgroup of the first of them.
        part: the loop around some of the rows, if `rows` are not all of the workgroup.
        cut: the part of a stage that is written, if workgroups share it.
        odd: the name of a flag of every other step, in which weights are read from the end.
    """

    w: Writer
    stages: Stages
    homes: dict[Value, Buffer]
    rows: int
    first_row: Affine
    first_local: Affine = Affine()
    part: Callable[[], AbstractContextManager[None]] = nullcontext
    cut: Cut | None = None
    odd: str = ""

    def over(
        self,
        loop: Loop | None,
        space: tuple[int, ...],
        rows: bool,
        tile: Tile,
        body: Callable[[Evaluator, list[Point]], None],
        packer: Packer,
    ) -> None:
        """Loops over `space` (the last axis in tiles), in them over blocks of rows, then `body`.

        Without a batch the rows of a block are neighbours along the axis before the lanes.
        """
        packer.sizes = space
        last = len(space) - (1 if tile.lanes else 0)
        blocked = last - 1 if tile.rows > 1 and tile.lanes and not rows and last > 0 else None
        cut = self.cut if loop is not None else None
        shared = cut.axis(space, tile, blocked) if cut else None

        def trips(axis: int, starts: range, odd: str = "") -> AbstractContextManager[Affine]:
            if cut and axis == shared:
                return cut.loop(starts, space[axis], odd)
            return self.w.loop(len(starts))

        def outer(axis: int, lanes: list[Affine]) -> None:
            if axis == blocked:
                outer(axis + 1, [*lanes, Affine()])
            elif axis < last:
                with trips(axis, range(space[axis])) as i:
                    packer.axes.update({name: axis for name, _ in i.terms})
                    outer(axis + 1, [*lanes, i])
            elif not tile.lanes or not space:
                self.row_blocks(loop, rows, tile, lambda ev: body(ev, [lanes]), 0)
            else:
                inner(lanes)

        def inner(lanes: list[Affine]) -> None:
            packer.segments = segments(space[-1], tile.lanes)
            for part in packer.segments:
                count = len(part.starts)
                odd = self.odd if loop is not None and tile.sums and count > 1 else ""
                with trips(last, part.starts, odd) as n:
                    if not (cut and last == shared):
                        n = turned(self.w, n, self.w.index(count), odd)
                    packer.segment, packer.tile = part, n
                    block([*lanes, n * part.lanes + Affine(part.start, lane=1)], part.lanes)

        def block(point: Point, lanes: int) -> None:
            if blocked is None:
                self.row_blocks(loop, rows, tile, lambda ev: body(ev, [point]), lanes)
                return
            for number, size in self._blocks(space[blocked], tile.rows):
                points = [[*point] for _ in range(size)]
                for r, each in enumerate(points):
                    each[blocked] = number.plus(r)
                body(self._evaluator(loop, self.block(Affine(), 1), lanes), points)

        with self.w.scope():
            outer(0, [])

    def row_blocks(
        self,
        loop: Loop | None,
        rows: bool,
        tile: Tile,
        body: Callable[[Evaluator], None],
        lanes: int,
    ) -> None:
        """All rows of the workgroup in blocks, the last of which may be smaller."""
        with self.part() if rows else nullcontext():
            for first, size in self._blocks(self.rows if rows else 1, tile.rows):
                body(self._evaluator(loop, self.block(first, size), lanes))

    def in_blocks(self, size: int, body: Callable[[], None]) -> None:
        """`body` for each block of `size` rows as if these were all; `size` divides the rows."""
        saved = self.rows, self.first_row, self.first_local
        with self.w.loop(self.rows // size) as n:
            self.rows = size
            self.first_row, self.first_local = saved[1] + n * size, saved[2] + n * size
            body()
        self.rows, self.first_row, self.first_local = saved

    def _blocks(self, total: int, size: int) -> Iterator[tuple[Affine, int]]:
        """Loops over blocks of `total`, none larger than `size`: the first of each, its size.

        Sizes differ by one at most, because a small last block has too few sums to keep busy.
        """
        count = -(-total // size)
        size = -(-total // count)
        large = total - count * (size - 1)
        with self.w.loop(large) as n:
            yield n * size, size
        if large < count:
            with self.w.loop(count - large) as n:
                yield (n * (size - 1)).plus(large * size), size - 1

    def _evaluator(self, loop: Loop | None, block: Block, lanes: int) -> Evaluator:
        return Evaluator(self.w, self.stages, self.homes, loop, block, lanes)

    def block(self, first: Affine, size: int) -> Block:
        """The rows from `first` on, as places in this workgroup and in the whole batch."""
        rows = [first.plus(r) for r in range(size)]
        local = tuple(self.first_local + row for row in rows)
        return Block(local, tuple(self.first_row + row for row in rows))
