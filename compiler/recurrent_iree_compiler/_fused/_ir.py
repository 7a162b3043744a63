"""The cell as plain Python data: values, operations, and what each argument is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ANY = -1
"""A number of steps that only the caller knows."""

ANY_ROWS = -2
"""A number of rows that only the caller knows, in the shape of a tensor outside of the kernel."""


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor of the cell. Two values are the same only if they are the same object."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name}:{'x'.join([*map(str, self.shape), self.dtype])}"


@dataclass(frozen=True, eq=False)
class Region:
    """The scalar function of a reduction: arguments, operations, results."""

    arguments: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Op:
    """One operation; `kind` is the StableHLO name without its dialect.

    `source` is the MLIR operation that it came from (to clone it), or ``None`` for a made one.
    """

    kind: str
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    source: Any = None
    region: Region | None = None

    @property
    def result(self) -> Value:
        return self.results[0]


@dataclass
class Cell:
    """``(consts, carry, x_t) -> (carry', y_t)``.

    After `_invariant.hoist` the operations are those that change from step to step, and `consts`
    are the values that they read from outside the loop, in `outside` the operations that make them.
    A `length` of `ANY` is known only when the kernel runs. If `rows` is not 0, then an axis of that
    size stands for one with a number of rows that is known only then. `arguments` are those of
    the composite, in order; `extra` holds the values of MLIR behind others that it reads. Step
    inputs in `batch_first`, and outputs by number in `ys_batch_first`, lie ``[batch, time, ...]``
    in memory.
    """

    consts: list[Value]
    carry: list[Value]
    xs: list[Value]
    ops: list[Op]
    carry_out: list[Value]
    ys: list[Value]
    length: int
    reverse: bool
    splats: dict[Value, float | int | bool] = field(default_factory=dict)
    outside: list[Op] = field(default_factory=list)
    arguments: list[Value] = field(default_factory=list)
    rows: int = 0
    extra: dict[Value, Any] = field(default_factory=dict)
    batch_first: set[Value] = field(default_factory=set)
    ys_batch_first: set[int] = field(default_factory=set)

    def given(self, composite: Any) -> dict[Value, Any]:
        """The values of MLIR that the arguments are, those that were added included."""
        return {**dict(zip(self.arguments, composite.operands, strict=True)), **self.extra}

    @property
    def any_length(self) -> bool:
        return self.length == ANY

    def producers(self) -> dict[Value, Op]:
        return {value: op for op in self.ops for value in op.results}

    def outputs(self) -> list[Value]:
        return [*self.carry_out, *self.ys]


class Refused(Exception):
    """Raised inside this package where a cell cannot be fused; `try_fuse` turns it into data."""

    def __init__(self, op: str, reason: str) -> None:
        super().__init__(f"{op}: {reason}")
        self.op = op
        self.reason = reason


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a dense tensor, in elements."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
