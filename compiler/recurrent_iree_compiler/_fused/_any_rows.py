"""Kernels for a number of rows that only the caller knows.

Rows are taken in blocks of a few, as many as share registers. Each workgroup loops over some of the
blocks, the last of which moves back to end with the last row, so that some rows are computed twice
with the same result. Fewer rows than a block are taken one by one, each by a workgroup of its own,
in a second copy of the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ._batch import mixing_op
from ._index import Affine, variable
from ._ir import Cell, Refused, Value

if TYPE_CHECKING:
    from ._kernel import Kernel

MOST_ROWS = 32
BLOCK = 4
Batch = dict[Value, int]


def check_rows(cell: Cell, batch: Batch) -> None:
    """Refuse a cell of which a row may touch another one."""
    if not cell.rows:
        return
    if not any(v.shape[a] == cell.rows for v, a in batch.items()):
        op = mixing_op(cell)
        name = f"stablehlo.{op.kind}" if op else "recurrent_iree.cell"
        raise Refused(name, "a row may need another row, and their number is not known")
    for value in [*cell.consts, *cell.carry, *cell.xs]:
        if is_whole(cell, value) and value not in batch and value not in cell.splats:
            raise Refused("recurrent_iree.cell", "an array of all rows has no row for each of them")
    for op in cell.ops:
        for value in (v for v in (*op.operands, *op.results) if v not in cell.splats):
            if any(n >= cell.rows and batch.get(value) != a for a, n in enumerate(value.shape)):
                raise Refused(
                    f"stablehlo.{op.kind}", "it mixes rows, whose number is not known, or needs all"
                )


def is_whole(cell: Cell, value: Value) -> bool:
    """Whether `value` has all rows of a number that is not known."""
    return bool(cell.rows) and any(n >= cell.rows for n in value.shape)


def row_size(cell: Cell, value: Value) -> int:
    """Elements of one row of `value`, or of all of it if it has no rows."""
    return value.size // cell.rows if is_whole(cell, value) else value.size


class AnyRows:
    """How `kernel` goes through its rows.

    Attributes:
        block: rows of a block.
        capacity: most rows of a workgroup.
    """

    def __init__(self, kernel: Kernel, row_bytes: int) -> None:
        self.kernel = kernel
        self.block = BLOCK
        fits = kernel.machine.l2 // 4 // max(row_bytes, 1)
        self.capacity = max(BLOCK, min(MOST_ROWS, fits // BLOCK * BLOCK))
        self.many = False

    @property
    def most_blocks(self) -> int:
        """The blocks of a workgroup at most."""
        return self.capacity // self.block

    def emit(self, body: Callable[[], None]) -> None:
        """The body for many rows, and the one for few."""
        kernel, w = self.kernel, self.kernel.w
        self.block = kernel.rows = kernel.nests.rows = self._rows_together()
        w.line(f"%few = arith.cmpi ult, %batch, {w.index(self.block)} : index")
        w.line("scf.if %few {")
        at, made = len(w.lines), len(kernel.step.made)
        w.line("} else {")
        with w.scope():
            self._many(body)
        emitted = len(kernel.step.made)
        w.line("}")
        tail = w.lines[at:]
        del w.lines[at:]
        with w.scope():
            kernel.rows = kernel.nests.rows = 1
            kernel.nests.first_row = variable("%group")
            body()
        w.lines.extend(tail)
        kernel.rows, kernel.step.made = self.block, kernel.step.made[made:emitted]

    def _rows_together(self) -> int:
        """Rows that the products of a step take into registers at once."""
        kernel = self.kernel
        kernel.rows = kernel.nests.rows = BLOCK
        tiles = [kernel.step.tile(loop) for loop in kernel.stages.loops if loop.rows]
        return max(1, min((t.rows for t in tiles if t.sums and t.lanes), default=BLOCK))

    def _many(self, body: Callable[[], None]) -> None:
        w = self.kernel.w
        size = w.index(self.block)
        w.line(f"%up = arith.addi %batch, {w.index(self.block - 1)} : index")
        w.line(f"%all = arith.divui %up, {size} : index")
        w.line("%block0 = arith.muli %group, %share : index")
        w.line("%left = arith.subi %all, %block0 : index")
        w.line("%mine = arith.minui %left, %share : index")
        w.line(f"%first = arith.muli %block0, {size} : index")
        w.line(f"%end = arith.subi %batch, {size} : index")
        self.many, self.kernel.nests.part = True, self.each_block
        body()
        self.many, self.kernel.nests.part = False, nullcontext

    @contextmanager
    def each_block(self) -> Iterator[None]:
        """A loop over the blocks of the workgroup; inside, the rows are those of one block."""
        w = self.kernel.w
        name = w.fresh()
        w.line(f"scf.for {name} = {w.index(0)} to %mine step {w.index(1)} {{")
        with self._inside(name):
            yield
        w.line("}")

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        nests, w = self.kernel.nests, self.kernel.w
        with w.scope():
            local = variable(name) * self.block
            whole = w.op(f"arith.minui {w.address(variable('%first') + local)}, %end : index")
            nests.first_local, nests.first_row = local, variable(whole)
            yield
        nests.first_local, nests.first_row = Affine(), Affine()

    def carried(self, start: str, kind: str, block: Callable[[str], str]) -> str:
        """`block` for each block, with a value that goes from one to the next."""
        if not self.many:
            return block(start)
        w = self.kernel.w
        name, inside, result = w.fresh(), w.fresh(), w.fresh()
        bounds = f"{w.index(0)} to %mine step {w.index(1)}"
        w.line(f"{result} = scf.for {name} = {bounds} iter_args({inside} = {start}) -> ({kind}) {{")
        with self._inside(name):
            w.line(f"scf.yield {block(inside)} : {kind}")
        w.line("}")
        return result


def count_rows(block: int, most_blocks: int, cores: int) -> list[str]:
    """Lines that find, of ``%batch`` rows, the blocks of a workgroup and the workgroups.

    They make ``%share`` and ``%groups``. Fewer rows than a block are a workgroup each.
    """
    numbers = {"block": block, "up": block - 1, "one": 1, "most": most_blocks}
    numbers |= {"cores": cores, "round": cores - 1}
    lines = [f"%rows_{name} = arith.constant {n} : index" for name, n in numbers.items()]
    return [
        *lines,
        "%rows_a = arith.addi %batch, %rows_up : index",
        "%rows_all = arith.divui %rows_a, %rows_block : index",
        "%rows_b = arith.addi %rows_all, %rows_round : index",
        "%rows_c = arith.divui %rows_b, %rows_cores : index",
        "%rows_d = arith.minui %rows_c, %rows_most : index",
        "%share = arith.maxui %rows_d, %rows_one : index",
        "%rows_e = arith.subi %share, %rows_one : index",
        "%rows_f = arith.addi %rows_all, %rows_e : index",
        "%rows_g = arith.divui %rows_f, %share : index",
        "%rows_few = arith.cmpi ult, %batch, %rows_block : index",
        "%groups = arith.select %rows_few, %batch, %rows_g : index",
    ]
