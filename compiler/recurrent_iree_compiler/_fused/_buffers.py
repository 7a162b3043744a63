"""Memory of the kernel: bindings from outside and scratch rows of a workgroup."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ._index import ROW, Affine
from ._ir import ANY, Value, row_major
from ._writer import storage_dtype

LINE = 64
"""Bytes of a cache line."""


@dataclass(eq=False)
class Buffer:
    """A flat memref and how a tensor lies in it.

    Attributes:
        value: the tensor that it holds (for one step, if it holds all steps).
        role: ``const``, ``init``, ``x``, ``state``, ``last``, ``y``, ``scratch`` or ``packed``.
        index: number of the argument or result, where it has one.
        length: elements of the whole memref.
        shape: the tensor as it lies in memory; the batch axis is 1 where rows are kept apart.
        batch: position of the batch axis, or ``None``.
        sizes: numbers that the caller gives, ``%steps`` and ``%batch``: the memref holds that many
            times `each` elements.
        own_rows: rows are those of this workgroup, `row_step` elements apart.
        time_step: elements from one step to the next, where steps are stacked.
        batch_first: the steps of a row are stacked, not the rows of a step.
    """

    value: Value
    role: str
    index: int
    length: int
    shape: tuple[int, ...]
    batch: int | None
    own_rows: bool
    row_step: int
    name: str = ""
    base: Affine = field(default_factory=Affine)
    start: int = 0
    sizes: tuple[str, ...] = ()
    each: int = 0
    time_step: int = 0
    batch_first: bool = False

    @property
    def storage(self) -> str:
        return storage_dtype(self.value.dtype)

    @property
    def type(self) -> str:
        return f"memref<{'?' if self.sizes else self.length}x{self.storage}>"

    @property
    def strides(self) -> tuple[int, ...]:
        strides = list(row_major(self.shape))
        if self.batch is not None:
            strides[self.batch] = self.row_step
        return tuple(strides)

    def at(self, index: tuple[Affine, ...]) -> Affine:
        """The address of the element (or lanes) at `index`."""
        total = self.base
        for position, stride in zip(index, self.strides, strict=True):
            total = total + position * stride
        return total


def outside(
    value: Value,
    role: str,
    index: int,
    batch: int | None,
    steps: int = 1,
    batch_first: bool = False,
) -> Buffer:
    """A tensor of the caller, with all rows, and all steps if it is stacked."""
    stride = row_major(value.shape)[batch] if batch is not None else 0
    each = stride if batch_first else value.size
    stride *= steps if batch_first else 1
    length = value.size * max(steps, 1)
    buffer = Buffer(value, role, index, length, value.shape, batch, False, stride)
    if steps == ANY:
        buffer.sizes, buffer.each = ("%steps",), value.size
    buffer.time_step, buffer.batch_first = each, batch_first
    return buffer


def inside(value: Value, role: str, index: int, batch: int | None, rows: int) -> Buffer:
    """Scratch for the rows of one workgroup; states have room for two steps."""
    shape = tuple(1 if a == batch else n for a, n in enumerate(value.shape))
    step = math.prod(shape)
    length = step * (rows if batch is not None else 1) * (2 if role == "state" else 1)
    return Buffer(value, role, index, length, shape, batch, True, step)


def element_bytes(storage: str) -> int:
    """The bytes of one element in memory."""
    return {"i8": 1, "i16": 2, "bf16": 2, "f16": 2, "i64": 8, "f64": 8}.get(storage, 4)


def aligned(buffer: Buffer) -> int:
    """The bytes of `buffer`, rounded up to a cache line."""
    return -(-buffer.length * element_bytes(buffer.storage) // LINE) * LINE


@dataclass(eq=False)
class Binding:
    """One buffer of the dispatch: one tensor, or several of a type laid end to end."""

    name: str
    parts: list[Buffer]

    @property
    def storage(self) -> str:
        return self.parts[0].storage

    @property
    def length(self) -> int:
        return self.parts[0].length

    @property
    def type(self) -> str:
        return self.parts[0].type

    @property
    def sizes(self) -> tuple[str, ...]:
        return self.parts[0].sizes


def join(role: str, buffers: list[Buffer]) -> list[Binding]:
    """Lay the buffers of each element type end to end; their addresses move accordingly."""
    groups: dict[str, list[Buffer]] = {}
    for buffer in buffers:
        groups.setdefault(buffer.storage, []).append(buffer)
    joined = []
    for storage, parts in groups.items():
        start, total = 0, sum(b.length for b in parts)
        for buffer in parts:
            buffer.start = start
            buffer.base = buffer.base.plus(start)
            start += buffer.length
        for buffer in parts:
            buffer.length, buffer.name = total, f"%{role}s_{storage}"
        joined.append(Binding(parts[0].name, parts))
    return joined


def index_of(value: Value, batch: int | None, lanes: list[Affine]) -> tuple[Affine, ...]:
    """The full index of `value` from the index of its lanes (axes of size one left out)."""
    given = iter(lanes)
    index = []
    for axis, size in enumerate(value.shape):
        if axis == batch:
            index.append(ROW)
        else:
            index.append(Affine() if size == 1 else next(given))
    return tuple(index)
