"""The order of work: which way weights are read, what is split, which loops run together."""

from __future__ import annotations

from ._ir import Cell, Op
from ._levels import Loop
from ._machine import Machine
from ._many_rows import MOST_CACHES
from ._stages import Stages
from ._tiles import MOST_ROWS

_TURNED = 2  # second-level caches: of larger weights too little is there in the next step


def reads_weights(op: Op, stages: Stages) -> bool:
    """Whether `op` is a product with weights that all rows share."""
    return op.kind == "dot_general" and any(stages.is_weight(v) for v in op.operands)


def turns(cell: Cell, stages: Stages, machine: Machine) -> bool:
    """Whether every other step reads the weights from the end; see `turned`.

    That pays for weights of about a second-level cache.
    """
    return cell.length != 1 and 0.5 < _caches(cell, stages, machine) <= _TURNED


def prefetched(cell: Cell, stages: Stages, machine: Machine) -> int:
    """How many bytes ahead a kernel asks for its weights; 0: it does not.

    Processors see by themselves that memory is read in order, but only within a page. Smaller
    weights are mostly in the second-level cache.
    """
    return machine.ahead if _caches(cell, stages, machine) > _TURNED else 0


def shares_rather(cell: Cell, stages: Stages, machine: Machine, rows: int) -> bool:
    """Whether workgroups should share the steps of all rows, and not split the rows.

    Workgroups that have rows of their own read all weights at every step. For a few rows that is
    most of the work, unless a second-level cache holds them.
    """
    few = bool(cell.carry) and rows <= MOST_ROWS * machine.cores
    return few and _caches(cell, stages, machine) > 1


def splits_lanes(cell: Cell, stages: Stages, machine: Machine) -> bool:
    """Whether workgroups split the lanes of a product, so that each reads a part of its weights.

    Smaller weights cost little to read, and rows can be cut more evenly.
    """
    alone = not cell.carry and not cell.rows and len(stages.loops) == 1 and machine.cores > 1
    return alone and _caches(cell, stages, machine) > MOST_CACHES


def runs_alone(loop: Loop, cell: Cell, stages: Stages, rows: int) -> bool:
    """Whether a loop runs for all `rows` of a workgroup before the next one begins.

    Neighbours that read no shared weights run for a few rows at a time, which then stay in the
    first-level cache from one loop to the next.
    """
    if rows % MOST_ROWS or rows == MOST_ROWS or not loop.rows:
        return True
    return any(reads_weights(op, stages) for op in cell.ops if op.result in loop.inside)


def _caches(cell: Cell, stages: Stages, machine: Machine) -> float:
    """The weights of products, in second-level caches."""
    products = [op for op in cell.ops if reads_weights(op, stages)]
    weights = {v for op in products for v in op.operands if stages.is_weight(v)}
    return sum(4 * v.size for v in weights) / machine.l2
