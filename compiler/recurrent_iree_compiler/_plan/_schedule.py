"""Whether kernels that do not need each other run side by side, such as two directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recurrent_iree_compiler._fused import Machine
from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import functions

FLAGS = ("--iree-stream-partitioning-favor=max-concurrency",)


@dataclass(frozen=True)
class Schedule:
    """Whether independent kernels run side by side, and why."""

    side_by_side: bool
    reason: str

    @property
    def flags(self) -> tuple[str, ...]:
        """What to tell ``iree-compile``."""
        return FLAGS if self.side_by_side else ()

    @property
    def text(self) -> str:
        """The choice as a line of the report."""
        return f"{'side by side' if self.side_by_side else 'one after the other'}: {self.reason}"


def choose_schedule(module: Module, machine: Machine, forced: bool | None) -> Schedule:
    """Whether IREE should schedule for concurrency, in a planned `module`.

    A kernel with one row of a batch keeps one core busy, so two that do not need each other halve
    the time on two cores. IREE puts them side by side only if it is asked to, because the
    intermediate values of both are then in memory at once; so it is asked only where there are two.

    Args:
        module: after the recurrences have their form.
        machine: what is known of the CPU.
        forced: the choice of the caller; ``None`` leaves it to the planner.
    """
    if forced is not None:
        return Schedule(forced, "chosen by the caller")
    if machine.cores < 2:
        return Schedule(False, "the target has one core")
    most = max((_independent(f) for f in functions(module).values()), default=0)
    if most < 2:
        return Schedule(False, "every kernel needs the one before it")
    return Schedule(True, f"{most} kernels do not need each other")


def _independent(function: Any) -> int:
    """How many kernels of `function` at most need no other one of them, directly or not."""
    needs: dict[Any, frozenset[int]] = {}
    depth: dict[int, int] = {}
    for number, op in enumerate(_operations(function)):
        before = frozenset().union(*(needs.get(v, frozenset()) for v in op.operands))
        if _is_kernel(op):
            depth[number] = 1 + max((depth[n] for n in before), default=0)
            before |= {number}
        needs.update({result: before for result in op.results})
    levels = list(depth.values())
    return max((levels.count(level) for level in levels), default=0)


def _operations(function: Any) -> Iterator[Any]:
    for block in function.regions[0].blocks:
        for op in block.operations:
            yield op.operation


def _is_kernel(op: Any) -> bool:
    if op.name != "func.call":
        return False
    callee = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
    return callee.startswith("recurrence") and callee.endswith(".call")
