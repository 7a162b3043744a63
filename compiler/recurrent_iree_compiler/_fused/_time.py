"""The loop over time: which half of the states is read, and steps that are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._any_rows import is_whole, row_size
from ._buffers import Buffer, index_of
from ._carried import carried_loop
from ._evaluate import Block, Evaluator
from ._finished import Idle
from ._index import Affine, variable
from ._packing import Packer

if TYPE_CHECKING:
    from ._kernel import Kernel


def emit_loop(kernel: Kernel, idle: Idle | None) -> Affine:
    """All steps; returns which half of the states holds the last ones (0 or 1)."""
    w, cell = kernel.w, kernel.cell
    steps = "%steps" if cell.any_length else w.index(cell.length)
    bounds = f"{w.index(0)} to {steps} step {w.index(1)}"
    if idle is None:
        w.line(f"scf.for %t = {bounds} {{")
        with w.scope():
            w.line(f"%now = arith.remui %t, {w.index(2)} : index")
            _step(kernel)
        w.line("}")
        if not cell.any_length:
            return Affine(cell.length % 2)
        w.line(f"%last = arith.remui %steps, {w.index(2)} : index")
        return variable("%last")
    zero = w.index(0)
    w.line(
        f"%last:2 = scf.for %t = {bounds} iter_args(%now = {zero}, %idle = {zero}) "
        "-> (index, index) {"
    )
    with w.scope():
        _step_or_copy(kernel, idle)
    w.line("}")
    return variable("%last#0")


def _step(kernel: Kernel) -> None:
    places(kernel)
    kernel.step.emit()


def places(kernel: Kernel) -> None:
    """The half that is written, and the place of the step in inputs and outputs."""
    w = kernel.w
    w.line(f"%next = arith.subi {w.index(1)}, %now : index")
    if kernel.nests.odd:
        w.line(f"{kernel.nests.odd} = arith.cmpi ne, %now, {w.index(0)} : index")
    if kernel.cell.reverse:
        last = w.op(f"arith.subi %steps, {w.index(1)} : index") if kernel.cell.any_length else ""
        last = last or w.index(kernel.cell.length - 1)
        w.line(f"%time = arith.subi {last}, %t : index")
    else:
        w.line(f"%time = arith.addi %t, {w.index(0)} : index")
    if kernel.cell.rows:
        w.line("%place = arith.muli %time, %batch : index")


def _step_or_copy(kernel: Kernel, idle: Idle) -> None:
    w = kernel.w
    places(kernel)
    flag = all_rows(kernel, idle)
    w.line(f"%enough = arith.cmpi uge, %idle, {w.index(idle.after)} : index")
    w.line(f"%skip = arith.andi {flag}, %enough : i1")
    w.line("%after = scf.if %skip -> (index) {")
    with w.scope():
        for buffer in kernel.memory.ys:
            repeat(kernel, buffer)
        w.line("scf.yield %now : index")
    w.line("} else {")
    with w.scope():
        kernel.step.emit()
        w.line("scf.yield %next : index")
    w.line("}")
    w.line(f"%more = arith.addi %idle, {w.index(1)} : index")
    w.line(f"%in_a_row = arith.select {flag}, %more, {w.index(0)} : index")
    w.line("scf.yield %after, %in_a_row : index, index")


def all_rows(kernel: Kernel, idle: Idle) -> str:
    """Whether the flag has the value of an idle step, for all rows of the workgroup."""
    w, stages = kernel.w, kernel.stages
    space = stages.lane_shape(idle.flag)
    own = stages.has_rows(idle.flag)
    rows = kernel.rows if own else 1

    def element(lanes: list[Affine], row: Affine, so_far: str) -> str:
        nests = kernel.nests
        block = Block((nests.first_local + row,), (nests.first_row + row,))
        ev = Evaluator(w, stages, kernel.memory.homes, None, block, 0)
        index = index_of(idle.flag, stages.batch.get(idle.flag), lanes)
        (name,) = ev.get(idle.flag, index).rows
        if not idle.value:
            name = w.op(f"arith.xori {name}, {w.constant(True, 'i1')} : i1")
        return w.op(f"arith.andi {so_far}, {name} : i1")

    def nest(sizes: tuple[int, ...], places: list[Affine], so_far: str) -> str:
        if not sizes:
            return element(places[1:], places[0], so_far)
        with carried_loop(w, sizes[0], 1, [so_far], ["i1"]) as (place, carried):
            carried.after = [nest(sizes[1:], [*places, place], carried.values[0])]
        return carried.after[0]

    def block(so_far: str) -> str:
        return nest((rows, *space), [], so_far)

    start = w.constant(True, "i1")
    return kernel.any_rows.carried(start, "i1", block) if kernel.any_rows and own else block(start)


def repeat(kernel: Kernel, buffer: Buffer) -> None:
    """Write the output of the step before once more."""
    value, stages = buffer.value, kernel.stages
    batch, space = stages.batch.get(value), stages.lane_shape(value)
    size, unit = buffer.time_step, Affine(1)
    if is_whole(kernel.cell, buffer.value):
        size, unit = row_size(kernel.cell, buffer.value), variable("%batch")
    back = unit * (size if kernel.cell.reverse else -size)

    def body(ev: Evaluator, points: list[list[Affine]]) -> None:
        at = buffer.at(index_of(value, batch, points[0]))
        ev.write(buffer, at, ev.read(buffer, at + back))

    kernel.nests.over(
        None, space, stages.has_rows(value), kernel.step.copy_tile(value), body, Packer([], 1)
    )
