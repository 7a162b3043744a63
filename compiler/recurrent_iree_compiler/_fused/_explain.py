"""What the planner did with one cell, for people and for the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ._buffers import aligned
from ._executable import Executable
from ._ir import Value
from ._kernel import Kernel
from ._levels import Loop
from ._narrow import STORED
from ._step import Made


@dataclass(frozen=True)
class StagePlan:
    """One loop of a step.

    Attributes:
        level: what it waits for: it reads what loops of lower levels stored.
        kind: ``map`` (element-wise work and the products it needs), ``reduce``, ``assemble``.
        space: the sizes that it runs over, for each row if `per_row`.
        operations: how often each operation is in it.
        stores: the values that it stores, each with the reason.
        lanes, rows: the tile.
        reason: why this tile.
        packed_bytes: weights that it streams in one step.
        packed_as: the element types of these weights in memory.
    """

    level: int
    kind: str
    space: tuple[int, ...]
    per_row: bool
    operations: dict[str, int]
    stores: dict[str, str]
    lanes: int
    rows: int
    reason: str
    packed_bytes: int
    packed_as: tuple[str, ...]


@dataclass(frozen=True)
class KernelPlan:
    """One kernel.

    Attributes:
        steps, reverse: the loop over time.
        batch: rows in all, ``None`` for any number; `workgroup_rows` of them share a workgroup.
        stages: the loops of one step, in order.
        buffers: memory of one workgroup in bytes, by name.
        outside: operations moved out of the loop.
        memory: where the memory of a workgroup is.
        stored: how weights that are stored in fewer bits are read; empty if there are none.
        sharing: how many workgroups share a step, and why; empty where the rows are split.
        early_exit: when steps are left out because they change nothing, or why none are; empty if
            the cell has no flag that could say so.
        turns: whether every other step reads its weights from the other end.
        ahead: how many bytes before they are read weights are asked for; 0: they are not.
    """

    steps: int | None
    reverse: bool
    batch: int | None
    workgroups: int | None
    workgroup_rows: int
    stages: tuple[StagePlan, ...]
    buffers: dict[str, int]
    outside: int
    memory: str
    stored: str
    sharing: str
    early_exit: str
    turns: bool
    ahead: int

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return asdict(self)

    def text(self) -> str:
        """The plan for a person."""
        steps = "any number of" if self.steps is None else self.steps
        order = ", last step first" if self.reverse else ""
        rows = f"{self.batch} rows in {self.workgroups} workgroups of {self.workgroup_rows}"
        if self.batch is None:
            rows = f"any number of rows in workgroups of at most {self.workgroup_rows}"
        lines = [f"one kernel, {steps} steps{order}, {rows}"]
        if self.sharing:
            lines.append(self.sharing)
        if self.early_exit:
            lines.append(self.early_exit)
        if self.turns:
            lines.append("every other step reads its weights from the other end, still in cache")
        if self.ahead:
            lines.append(f"weights are asked for {self.ahead} B before they are read")
        if self.outside:
            lines.append(f"{self.outside} operations moved out of the loop")
        total = sum(self.buffers.values())
        parts = ", ".join(f"{name} {size} B" for name, size in self.buffers.items())
        lines.append(f"{self.memory}: {total} B ({parts})")
        for number, stage in enumerate(self.stages):
            lines.extend(_stage_lines(number, stage))
        return "\n".join(lines)


def _stage_lines(number: int, stage: StagePlan) -> list[str]:
    space = "x".join(map(str, stage.space)) or "1"
    what = ", ".join(f"{count} {kind}" for kind, count in stage.operations.items()) or "copy"
    lines = [
        f"stage {number} (level {stage.level}): {stage.kind} over {space}"
        + (" for each row" if stage.per_row else ""),
        f"  {what}",
        f"  tile: {stage.lanes or 1} lanes x {stage.rows} rows; {stage.reason}",
    ]
    if stage.packed_bytes:
        small = [dtype for dtype in stage.packed_as if dtype in STORED]
        how = f", stored as {' and '.join(small)}" if small else ""
        lines.append(f"  streams {stage.packed_bytes} B of packed weights{how}")
    lines.extend(f"  stores {name}: {reason}" for name, reason in stage.stores.items())
    return lines


def explain(kernel: Kernel, executable: Executable) -> KernelPlan:
    """The plan of an emitted kernel."""
    return KernelPlan(
        steps=None if kernel.cell.any_length else kernel.cell.length,
        reverse=kernel.cell.reverse,
        batch=None if kernel.any_rows else kernel.batch,
        workgroups=None if kernel.any_rows else kernel.workgroups,
        workgroup_rows=kernel.capacity,
        stages=tuple(_stage(kernel, made) for made in kernel.step.made),
        buffers={b.name[1:]: aligned(b) for b in kernel.own},
        outside=len(kernel.cell.outside),
        memory="on the stack" if executable.on_stack else "in a transient buffer",
        stored=_stored(kernel, executable),
        sharing=_sharing(kernel),
        early_exit=_early_exit(kernel),
        turns=bool(kernel.nests.odd),
        ahead=kernel.ahead,
    )


def _sharing(kernel: Kernel) -> str:
    if kernel.any_rows:
        return f"steps are not shared: {kernel.sharing.reason}"
    return kernel.sharing.text if kernel.workgroups == 1 else ""


def _early_exit(kernel: Kernel) -> str:
    idle = kernel.idle
    if idle is None:
        return kernel.never_idle and f"no early exit: {kernel.never_idle}"
    rows = "all rows of a workgroup" if kernel.stages.has_rows(idle.flag) else "all rows"
    steps = "step" if idle.after == 1 else "steps"
    return (
        f"early exit: once {idle.flag} is {str(idle.value).lower()} for {rows}, {idle.after} more "
        f"{steps} run; the rest repeat the last outputs"
    )


def _stored(kernel: Kernel, executable: Executable) -> str:
    sizes: dict[str, int] = {}
    for pack in kernel.packs:
        if pack.source == "codes":
            kind = pack.buffer.storage
            sizes[kind] = sizes.get(kind, 0) + aligned(pack.buffer)
    parts = [f"{size} B are read as {kind}" for kind, size in sizes.items()]
    wide = {g.value for p in kernel.packs if p.source == "const" for g in p.gates}
    wide |= {part.value for binding in executable.consts for part in binding.parts}
    count = len(wide & set(kernel.narrow))
    if count:
        parts.append(
            f"{count} are widened to f32 before the loop, because they are not read along the "
            "lanes of a product, or have a scale along the axis that is summed"
        )
    return "; ".join(parts)


def _stage(kernel: Kernel, made: Made) -> StagePlan:
    return StagePlan(
        level=made.loop.level,
        kind=made.loop.kind,
        space=made.loop.space,
        per_row=made.loop.rows,
        operations=_operations(kernel, made.loop),
        stores={
            _named(kernel, root.value): kernel.stages.reasons.get(root.value, "output")
            for root in made.loop.roots
        },
        lanes=made.tile.lanes,
        rows=made.tile.rows,
        reason=made.tile.reason,
        packed_bytes=sum(aligned(p.buffer) for p in made.packs),
        packed_as=tuple(sorted({p.buffer.storage for p in made.packs})),
    )


def _named(kernel: Kernel, value: Value) -> str:
    """The name and type of `value`, with ``?`` for a number of rows that is not known."""
    rows = str(kernel.cell.rows)
    return str(value).replace(rows, "?") if kernel.cell.rows else str(value)


def _operations(kernel: Kernel, loop: Loop) -> dict[str, int]:
    counts: dict[str, int] = {}
    for op in kernel.cell.ops:
        if any(v in loop.inside for v in op.results) and op.kind != "constant":
            counts[op.kind] = counts.get(op.kind, 0) + 1
    return counts
