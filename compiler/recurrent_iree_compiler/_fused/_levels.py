"""The loops of a step: stored values of one level and one space are computed together.

A loop is level `n` if it reads what loops of level `n - 1` stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ._dataflow import Dataflow
from ._ir import Op, Value


@dataclass(frozen=True)
class Root:
    """A value that a loop stores, and the operation that makes it."""

    value: Value
    op: Op | None

    @property
    def is_reduction(self) -> bool:
        return self.op is not None and self.op.kind == "reduce"

    @property
    def is_assembled(self) -> bool:
        return self.op is not None and self.op.kind in ("concatenate", "pad")


@dataclass
class Loop:
    """Roots that are computed together: one nest over `space`, for each row or once."""

    level: int
    space: tuple[int, ...]
    rows: bool
    kind: str
    roots: list[Root] = field(default_factory=list)
    inside: set[Value] = field(default_factory=set)


_APART = ("reduce", "concatenate", "pad")


def group(flow: Dataflow, values: Sequence[Value]) -> list[Loop]:
    """The loops that compute `values` and store them, in the order in which they may run."""
    levels: dict[Value, int] = {}
    loops: dict[tuple[object, ...], Loop] = {}
    for value in values:
        root = Root(value, flow.makers.get(value))
        loop = _loop_for(flow, root, _level(flow, value, levels), loops)
        if root not in loop.roots:
            loop.roots.append(root)
    ordered = sorted(loops.values(), key=lambda loop: loop.level)
    for loop in ordered:
        _fill(flow, loop)
    return ordered


def _loop_for(
    flow: Dataflow, root: Root, level: int, loops: dict[tuple[object, ...], Loop]
) -> Loop:
    space, kind, extra = flow.lane_shape(root.value), "map", None
    if root.is_reduction and root.op:
        space, kind, extra = flow.lane_shape(root.op.operands[0]), "reduce", root.op
    elif root.is_assembled:
        kind, extra = "assemble", root.op
    rows = flow.has_rows(root.value)
    return loops.setdefault((level, space, rows, kind, extra), Loop(level, space, rows, kind))


def _level(flow: Dataflow, value: Value, levels: dict[Value, int]) -> int:
    if value not in levels:
        maker = flow.makers.get(value)
        pointwise = maker is None or maker.kind not in _APART
        level = 0
        for other, same, _ in flow.walk(value, True) if maker else ():
            if flow.stored(other):
                joined = pointwise and same and flow.makers[other].kind not in _APART
                level = max(level, _level(flow, other, levels) + (0 if joined else 1))
        levels[value] = level
    return levels[value]


def _fill(flow: Dataflow, loop: Loop) -> None:
    """Say which values are computed in `loop`: back to leaves and to what other loops store."""
    own = {r.value for r in loop.roots}
    pending = list(own)
    while pending:
        value = pending.pop()
        if value in loop.inside or value in flow.leaves:
            continue
        if flow.stored(value) and value not in own:
            continue
        loop.inside.add(value)
        pending.extend(flow.inputs(value))
