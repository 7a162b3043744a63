"""Leaving out the updates of scatters whose window is not inside of the array, as XLA does.

IREE 3.13 on CPUs does not look: for an index that is out of range it writes outside of the array.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._any_length import NotForAnyLength
from ._gathers import field, numbers
from ._recurrence import functions, walk
from ._values import Values


def hold_scatters(module: Module, unused: Collection[str] = ()) -> None:
    """Make every scatter of `module` safe, in place; functions that are `unused` stay as they are.

    Raises:
        NotForAnyLength: a scatter of arrays with unknown sizes.
    """
    for name, function in functions(module).items():
        scatters = [op for op in walk(function) if op.name == "stablehlo.scatter"]
        for op in scatters if name not in unused else ():
            with module.context, op.location:
                _hold(_Scatter(op))


@dataclass
class _Scatter:
    """A scatter, whose windows of `window` elements go into an array of `shape`."""

    op: Any

    @cached_property
    def new(self) -> Values:
        return Values(ir.InsertionPoint(self.op))

    @cached_property
    def text(self) -> str:
        return str(self.op.attributes["scatter_dimension_numbers"])

    @cached_property
    def arrays(self) -> int:
        return len(self.op.results)

    @property
    def indices(self) -> Any:
        return self.op.operands[self.arrays]

    @property
    def updates(self) -> list[Any]:
        return list(self.op.operands)[self.arrays + 1 :]

    @cached_property
    def shape(self) -> list[int]:
        return list(self.op.operands[0].type.shape)

    @cached_property
    def axes(self) -> list[int]:
        """The axis of the array that each part of an index vector stands for."""
        return numbers(self.text, "scatter_dims_to_operand_dims")

    @cached_property
    def vector(self) -> int:
        """The axis of the indices along which these parts lie."""
        return int(field(self.text, r"index_vector_dim = (\d+)", "0"))

    @cached_property
    def in_window(self) -> list[int]:
        """The axes of the updates that are axes of a window."""
        return numbers(self.text, "update_window_dims")

    @cached_property
    def window(self) -> list[int]:
        flat = numbers(self.text, "inserted_window_dims") + numbers(
            self.text, "input_batching_dims"
        )
        sizes = iter([self.updates[0].type.shape[a] for a in self.in_window])
        return [1 if axis in flat else next(sizes) for axis in range(len(self.shape))]

    @cached_property
    def parts(self) -> list[Any]:
        """The parts of all index vectors, without the axis of the vectors."""
        shape = list(self.indices.type.shape)
        if self.vector == len(shape):
            return [self.indices]
        rest = shape[: self.vector] + shape[self.vector + 1 :]
        return [
            self.new.reshape(self.new.slice(self.indices, self.vector, n), rest)
            for n in range(len(self.axes))
        ]

    @cached_property
    def valid(self) -> Any:
        """Which windows are inside of the array."""
        valid = None
        for axis, part in zip(self.axes, self.parts, strict=True):
            for order, bound in (("GE", 0), ("LE", self.shape[axis] - self.window[axis])):
                inside = self.new.compare(order, part, self.new.filled(part.type, bound))
                valid = inside if valid is None else self.new.op("and", inside.type, valid, inside)
        return valid

    @cached_property
    def reduction(self) -> str:
        """The one operation with which updates are added; ``set`` if they replace what is there."""
        block = self.op.regions[0].blocks[0]
        operations = [o.operation for o in block.operations]
        if self.arrays == 1 and len(operations) == 1:
            return "set" if operations[0].operands[0] == block.arguments[1] else ""
        if self.arrays == 1 and len(operations) == 2 and len(operations[0].operands) == 2:
            return operations[0].name.removeprefix("stablehlo.")
        return ""

    @property
    def is_single(self) -> bool:
        """Whether there is one window."""
        batched = numbers(self.text, "input_batching_dims")
        return not batched and all(size == 1 for size in self.valid.type.shape)

    def with_parts(self, parts: list[Any]) -> Any:
        """The indices put together again."""
        shape = list(self.indices.type.shape)
        if self.vector == len(shape):
            return parts[0]
        shape[self.vector] = 1
        return self.new.concatenate([self.new.reshape(p, shape) for p in parts], self.vector)


def _hold(scatter: _Scatter) -> None:
    if any("?" in str(value.type) for value in scatter.op.operands):
        raise NotForAnyLength("it scatters outside of the loop")
    if not scatter.axes:
        return
    if scatter.reduction == "set" and scatter.is_single:
        _set_one(scatter)
        return
    scatter.op.attributes["indices_are_sorted"] = ir.BoolAttr.get(False)
    if scatter.reduction == "add":
        _add(scatter)
    else:
        _pad(scatter)


def _set_one(scatter: _Scatter) -> None:
    """One window: what is there is read, and written again if the window is not inside."""
    new, array, (update,) = scatter.new, scatter.op.operands[0], scatter.updates
    starts = {a: new.reshape(p, []) for a, p in zip(scatter.axes, scatter.parts, strict=True)}
    zero = new.filled(next(iter(starts.values())).type, 0)
    at = [starts.get(axis, zero) for axis in range(len(scatter.shape))]
    there = new.dynamic_slice(array, at, scatter.window)
    update = new.reshape(update, scatter.window)
    valid = new.repeat(new.reshape(scatter.valid, []), [], scatter.window)
    chosen = new.op("select", update.type, valid, update, there)
    made = new.op("dynamic_update_slice", array.type, array, chosen, *at)
    scatter.op.results[0].replace_all_uses_with(made)
    scatter.op.erase()


def _add(scatter: _Scatter) -> None:
    """Updates that have no place add zero to another one."""
    new, (update,) = scatter.new, scatter.updates
    shape = list(update.type.shape)
    axes = [axis for axis in range(len(shape)) if axis not in scatter.in_window]
    valid = new.repeat(scatter.valid, axes, shape)
    scatter.op.operands[2] = new.op("select", update.type, valid, update, new.zeros(update.type))
    parts = [
        new.op("select", p.type, scatter.valid, p, new.filled(p.type, 0)) for p in scatter.parts
    ]
    scatter.op.operands[1] = scatter.with_parts(parts)


def _pad(scatter: _Scatter) -> None:
    """Updates that have no place go behind the end of the array, which is cut off after it."""
    new, op, count = scatter.new, scatter.op, scatter.arrays
    axis, size = scatter.axes[0], scatter.shape[scatter.axes[0]]
    away = [size, *([0] * (len(scatter.axes) - 1))]
    parts = [
        new.op("select", p.type, scatter.valid, p, new.filled(p.type, n))
        for p, n in zip(scatter.parts, away, strict=True)
    ]
    wider = [new.pad(op.operands[n], axis, scatter.window[axis]) for n in range(count)]
    made = ir.Operation.create(
        "stablehlo.scatter",
        results=[value.type for value in wider],
        operands=[*wider, scatter.with_parts(parts), *scatter.updates],
        attributes={name: op.attributes[name] for name in op.attributes},
        regions=1,
        ip=new.before,
    )
    op.regions[0].blocks[0].append_to(made.regions[0])
    for old, wide in zip(op.results, made.results, strict=True):
        old.replace_all_uses_with(new.slice(wide, axis, 0, size))
    op.erase()
