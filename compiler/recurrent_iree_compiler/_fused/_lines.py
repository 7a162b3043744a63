"""Lines of StableHLO: operations on tensors as text, with their types."""

from __future__ import annotations

from ._ir import ANY, ANY_ROWS
from ._writer import storage_dtype

Shape = tuple[int, ...]

_NUMBERS = {ANY: "%steps", ANY_ROWS: "%batch"}


def tensor(shape: Shape, dtype: str) -> str:
    """The text of a tensor type."""
    return f"tensor<{''.join('?x' if n in _NUMBERS else f'{n}x' for n in shape)}{dtype}>"


def sized(shape: Shape, dtype: str) -> str:
    """The type as a dispatch writes it, with the numbers of steps and rows."""
    numbers = ", ".join(_NUMBERS[n] for n in shape if n in _NUMBERS)
    return tensor(shape, dtype) + (f"{{{numbers}}}" if numbers else "")


class Lines:
    """Lines of a function: each operation gets a fresh name, and is left out if it does nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counter = 0

    def fresh(self) -> str:
        """A name that no other value has."""
        self.counter += 1
        return f"%{self.counter}"

    def op(self, text: str) -> str:
        """Write an operation; gives the name of its result."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def stored(self, name: str, shape: Shape, dtype: str) -> str:
        """`name` with the element type that the kernel has in memory."""
        target = storage_dtype(dtype)
        if target == dtype:
            return name
        kind = "convert" if dtype == "i1" else "bitcast_convert"
        types = f"({tensor(shape, dtype)}) -> {tensor(shape, target)}"
        return self.op(f"stablehlo.{kind} {name} : {types}")

    def restored(self, name: str, shape: Shape, dtype: str) -> str:
        """`name`, which the kernel wrote, with the element type `dtype`."""
        source = storage_dtype(dtype)
        if source == dtype:
            return name
        if dtype != "i1" or any(n in _NUMBERS for n in shape):
            kind = "bitcast_convert" if dtype != "i1" else "convert"
            types = f"({tensor(shape, source)}) -> {tensor(shape, dtype)}"
            return self.op(f"stablehlo.{kind} {name} : {types}")
        zero = self.op(f"stablehlo.constant dense<0> : {tensor(shape, source)}")
        types = f"({tensor(shape, source)}, {tensor(shape, source)}) -> {tensor(shape, dtype)}"
        return self.op(f"stablehlo.compare NE, {name}, {zero}, SIGNED : {types}")

    def slice(self, name: str, shape: Shape, window: list[tuple[int, int]], dtype: str) -> str:
        """What lies in `window`: of each axis the first index, and the one behind the last."""
        target = tuple(b - a for a, b in window)
        if target == shape:
            return name
        ranges = ", ".join(f"{a}:{b}" for a, b in window)
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        return self.op(f"stablehlo.slice {name} [{ranges}] : {types}")

    def transpose(self, name: str, shape: Shape, order: Shape, dtype: str) -> str:
        """The axes of `name` in another order."""
        if tuple(order) == tuple(range(len(shape))):
            return name
        target = tuple(shape[a] for a in order)
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        dims = ", ".join(map(str, order))
        return self.op(f"stablehlo.transpose {name}, dims = [{dims}] : {types}")

    def reshape(self, name: str, shape: Shape, target: Shape, dtype: str) -> str:
        """The same elements in another shape."""
        if shape == target:
            return name
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        return self.op(f"stablehlo.reshape {name} : {types}")

    def concatenate(self, names: list[str], shapes: list[Shape], dim: int, dtype: str) -> str:
        """Several values behind each other along `dim`."""
        if len(names) == 1:
            return names[0]
        target = list(shapes[0])
        target[dim] = sum(s[dim] for s in shapes)
        types = ", ".join(tensor(s, dtype) for s in shapes)
        return self.op(
            f"stablehlo.concatenate {', '.join(names)}, dim = {dim} : "
            f"({types}) -> {tensor(tuple(target), dtype)}"
        )
