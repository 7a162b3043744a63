"""The function around the kernel: packs weights, dispatches, and restores the types of results.

It takes the values that the kernel reads (constants, weights, first states, step inputs) and gives
the last states and the step outputs. IREE evaluates the packing once if the weights are constants
or immutable parameters.
"""

from __future__ import annotations

import math

from ._buffers import Binding, Buffer
from ._carried import Segment
from ._executable import Executable
from ._ir import ANY, Value
from ._packing import Gate, Pack, Source
from ._writer import storage_dtype

Shape = tuple[int, ...]


def tensor(shape: tuple[int, ...], dtype: str) -> str:
    """The text of a tensor type."""
    return f"tensor<{''.join('?x' if n == ANY else f'{n}x' for n in shape)}{dtype}>"


def sized(shape: tuple[int, ...], dtype: str) -> str:
    """The type as a dispatch writes it, with the number of steps."""
    return tensor(shape, dtype) + ("{%steps}" if ANY in shape else "")


class Wrapper:
    """The text of the function and the values that it takes."""

    def __init__(self, executable: Executable, name: str) -> None:
        self.executable = executable
        self.name = name
        self.lines: list[str] = []
        self.counter = 0
        self.names: dict[tuple[str, Value], str] = {}
        kernel = executable.kernel
        cell = kernel.cell
        weights: list[tuple[Source, Value]] = [
            (p.source, g.value) for p in kernel.packs for g in p.gates
        ]
        direct: list[tuple[Source, Value]] = [
            ("const", part.value) for b in executable.consts for part in b.parts
        ]
        self.fixed = list(dict.fromkeys([*direct, *weights]))
        self.carries = [b.index for b in kernel.inits]
        arguments = []
        for source, value in self.fixed:
            name_ = self.fresh()
            dtype = value.dtype if source != "codes" else kernel.narrow[value].dtype
            arguments.append((name_, tensor(value.shape, dtype)))
            self.names[source, value] = self._stored(name_, value.shape, dtype)
        for kind, values, steps in (
            ("init", [cell.carry[n] for n in self.carries], None),
            ("x", cell.xs, cell.length),
        ):
            for value in values:
                name_ = self.fresh()
                shape = value.shape if steps is None else (steps, *value.shape)
                arguments.append((name_, tensor(shape, value.dtype)))
                self.names[kind, value] = self._stored(name_, shape, value.dtype)
        self.order: list[tuple[str, int]] = []
        if cell.any_length:
            self._count_steps(arguments[len(self.fixed) + len(self.carries)])
        self.text = self._text(arguments)

    def _count_steps(self, x: tuple[str, str]) -> None:
        name, kind = x
        self.lines.insert(0, "  %axis = arith.constant 0 : index")
        self.lines.insert(1, f"  %steps = tensor.dim {name}, %axis : {kind}")

    def fresh(self) -> str:
        self.counter += 1
        return f"%{self.counter}"

    def _op(self, text: str) -> str:
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def _stored(self, name: str, shape: tuple[int, ...], dtype: str) -> str:
        """`name` with the element type that the kernel has in memory."""
        target = storage_dtype(dtype)
        if target == dtype:
            return name
        kind = "convert" if dtype == "i1" else "bitcast_convert"
        types = f"({tensor(shape, dtype)}) -> {tensor(shape, target)}"
        return self._op(f"stablehlo.{kind} {name} : {types}")

    def _restored(self, name: str, shape: tuple[int, ...], dtype: str) -> str:
        source = storage_dtype(dtype)
        if source == dtype:
            return name
        if dtype != "i1" or ANY in shape:
            kind = "bitcast_convert" if dtype != "i1" else "convert"
            types = f"({tensor(shape, source)}) -> {tensor(shape, dtype)}"
            return self._op(f"stablehlo.{kind} {name} : {types}")
        zero = self._op(f"stablehlo.constant dense<0> : {tensor(shape, source)}")
        types = f"({tensor(shape, source)}, {tensor(shape, source)}) -> {tensor(shape, dtype)}"
        return self._op(f"stablehlo.compare NE, {name}, {zero}, SIGNED : {types}")

    def _text(self, arguments: list[tuple[str, str]]) -> str:
        executable = self.executable
        operands, kinds = [], []
        for binding in executable.reads:
            name, shape = self._operand(binding)
            operands.append(name)
            kinds.append(sized(shape, binding.storage))
        if executable.team:
            zero = self._op("arith.constant 0 : i32")
            counters = tensor((executable.team.length,), "i32")
            operands.append(self._op(f"flow.tensor.splat {zero} : {counters}"))
            kinds.append(counters)
        if executable.kernel.cell.any_length:
            operands.append("%steps")
            kinds.append("index")
        outs = [sized(self._shape(b), b.storage) for b in executable.writes]
        if not executable.on_stack:
            outs.append(tensor((executable.scratch_bytes,), "i8"))
        if executable.team:
            outs.append(operands[len(executable.reads)])
        result = self.fresh()
        count = f":{len(outs)}" if len(outs) > 1 else ""
        self.lines.append(
            f"  {result}{count} = flow.dispatch {executable.symbol}({', '.join(operands)}) : "
            f"({', '.join(kinds)}) -> ({', '.join(outs)})"
        )
        back = []
        for number, binding in enumerate(executable.writes):
            back.extend(self._results(binding, f"{result}#{number}" if count else result))
        cell = executable.kernel.cell
        shapes = [
            (cell.carry[n].shape, cell.carry[n].dtype)
            if role == "last"
            else ((cell.length, *cell.ys[n].shape), cell.ys[n].dtype)
            for role, n in self.order
        ]
        types = ", ".join(tensor(*s) for s in shapes)
        head = ", ".join(f"{n}: {t}" for n, t in arguments)
        body = "\n".join(self.lines)
        return (
            f"func.func private @{self.name}({head}) -> ({types}) {{\n{body}\n"
            f"  return {', '.join(back)} : {types}\n}}\n"
        )

    def _full_shape(self, buffer: Buffer) -> tuple[int, ...]:
        stacked = buffer.role in ("x", "y")
        length = self.executable.kernel.cell.length
        return (length, *buffer.value.shape) if stacked else buffer.value.shape

    def _shape(self, binding: Binding) -> tuple[int, ...]:
        joined = len(binding.parts) > 1
        return (binding.length,) if joined else self._full_shape(binding.parts[0])

    def _operand(self, binding: Binding) -> tuple[str, tuple[int, ...]]:
        first = binding.parts[0]
        if first.role == "packed":
            pack = next(p for p in self.executable.kernel.packs if p.buffer is first)
            return self._pack(pack), (first.length,)
        names = [self.names[part.role, part.value] for part in binding.parts]
        if len(names) == 1:
            return names[0], self._full_shape(first)
        sizes = [(part.value.size,) for part in binding.parts]
        flat = [
            self._reshape(name, self._full_shape(part), size, part.storage)
            for name, part, size in zip(names, binding.parts, sizes, strict=True)
        ]
        return self._concatenate(flat, sizes, 0, first.storage), (first.length,)

    def _results(self, binding: Binding, name: str) -> list[str]:
        """The results in `binding`, with their own shapes and types."""
        made = []
        for part in binding.parts:
            piece, shape = name, self._full_shape(part)
            if len(binding.parts) > 1:
                size = math.prod(shape)
                window = [(part.start, part.start + size)]
                piece = self._slice(name, (part.length,), window, part.storage)
                piece = self._reshape(piece, (size,), shape, part.storage)
            made.append((part, self._restored(piece, shape, part.value.dtype)))
        self.order.extend((part.role, part.index) for part, _ in made)
        return [piece for _, piece in made]

    def _pack(self, pack: Pack) -> str:
        """One flat tensor: ``[outer][tiles][contracted][gates][lanes]`` for each segment."""
        dtype = pack.buffer.storage
        parts, sizes = [], []
        even = self._evenly_cut(pack)
        for segment, _ in pack.parts:
            outer = tuple(size for _, size in pack.outer)
            depth, count = math.prod(pack.contract), len(pack.gates)
            inner = (segment.tiles, segment.lanes)
            if even is not None:
                name = self._gates_at_once(pack, segment, even)
            else:
                name = self._gates_one_by_one(pack, segment)
            rank = len(outer)
            span = segment.tiles * segment.lanes
            shape = (*outer, count, *inner, depth)
            name = self._reshape(name, (*outer, count, span, depth), shape, dtype)
            order = (*range(rank), rank + 1, rank + 3, rank, rank + 2)
            name = self._transpose(name, shape, order, dtype)
            total = math.prod(shape)
            parts.append(self._reshape(name, tuple(shape[a] for a in order), (total,), dtype))
            sizes.append((total,))
        return self._concatenate(parts, sizes, 0, dtype)

    def _evenly_cut(self, pack: Pack) -> int | None:
        """The axis that the gates cut into equal parts, if that is all that they do."""
        first = pack.gates[0]
        width = sum(segment.tiles * segment.lanes for segment, _ in pack.parts)
        lane = first.axes.index(("lane", 0))
        if first.value.shape[lane] != width * len(pack.gates):
            return None
        for number, gate in enumerate(pack.gates):
            starts = tuple(number * width if a == lane else 0 for a in range(len(gate.axes)))
            if (gate.value, gate.axes, gate.starts) != (first.value, first.axes, starts):
                return None
        sizes = dict(pack.outer)
        for (kind, number), size in zip(first.axes, first.value.shape, strict=True):
            if kind == "fixed" or (kind == "loop" and sizes[number] != size):
                return None
        return lane

    def _gates_at_once(self, pack: Pack, segment: Segment, lane: int) -> str:
        """The window of an evenly cut weight as ``[outer][gates][lanes][contracted]``."""
        dtype, gate = pack.buffer.storage, pack.gates[0]
        shape, count = gate.value.shape, len(pack.gates)
        cut = (*shape[:lane], count, shape[lane] // count, *shape[lane + 1 :])
        name = self._reshape(self.names[pack.source, gate.value], shape, cut, dtype)
        span = segment.tiles * segment.lanes
        window = [(0, n) for n in cut]
        window[lane + 1] = (segment.start, segment.start + span)
        name = self._slice(name, cut, window, dtype)
        cut = tuple(b - a for a, b in window)
        axes = [*gate.axes[:lane], ("gates", 0), *gate.axes[lane:]]
        wanted = [("loop", n) for n, _ in pack.outer] + [("gates", 0), ("lane", 0)]
        wanted += [("contract", n) for n in range(len(pack.contract))]
        order = tuple(axes.index(w) for w in wanted)
        name = self._transpose(name, cut, order, dtype)
        outer = tuple(size for _, size in pack.outer)
        target = (*outer, count, span, math.prod(pack.contract))
        return self._reshape(name, tuple(cut[a] for a in order), target, dtype)

    def _gates_one_by_one(self, pack: Pack, segment: Segment) -> str:
        """Windows of any weights, laid side by side as ``[outer][gates][lanes][contracted]``."""
        dtype = pack.buffer.storage
        outer = tuple(size for _, size in pack.outer)
        span = segment.tiles * segment.lanes
        shape = (*outer, span, math.prod(pack.contract))
        made = []
        for gate in pack.gates:
            name = self._gate(pack, gate, segment.start, span)
            alone = (*outer, 1, *shape[len(outer) :])
            made.append(self._reshape(name, shape, alone, dtype))
        shapes = [(*outer, 1, *shape[len(outer) :])] * len(made)
        return self._concatenate(made, shapes, len(outer), dtype)

    def _gate(self, pack: Pack, gate: Gate, start: int, span: int) -> str:
        """The window of one weight as ``[outer][lanes][contracted]``."""
        dtype = pack.buffer.storage
        name, shape = self.names[pack.source, gate.value], gate.value.shape
        sizes = dict(pack.outer)
        window = []
        for (kind, number), first in zip(gate.axes, gate.starts, strict=True):
            extent = {
                "fixed": 1,
                "lane": span,
                "contract": pack.contract[number] if kind == "contract" else 0,
                "loop": sizes.get(number, 0),
            }[kind]
            first += start if kind == "lane" else 0
            window.append((first, first + extent))
        name = self._slice(name, shape, window, dtype)
        shape = tuple(b - a for a, b in window)
        loops = [(kind, number) for kind, number in gate.axes if kind == "loop"]
        order = [gate.axes.index(("loop", n)) for n, _ in pack.outer if ("loop", n) in loops]
        order += [gate.axes.index(("lane", 0))]
        order += [gate.axes.index(("contract", n)) for n in range(len(pack.contract))]
        order += [a for a, (kind, _) in enumerate(gate.axes) if kind == "fixed"]
        name = self._transpose(name, shape, tuple(order), dtype)
        shape = tuple(shape[a] for a in order)
        target = (*(size for _, size in pack.outer), span, math.prod(pack.contract))
        return self._reshape(name, shape, target, dtype)

    def _slice(self, name: str, shape: Shape, window: list[tuple[int, int]], dtype: str) -> str:
        target = tuple(b - a for a, b in window)
        if target == shape:
            return name
        ranges = ", ".join(f"{a}:{b}" for a, b in window)
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        return self._op(f"stablehlo.slice {name} [{ranges}] : {types}")

    def _transpose(self, name: str, shape: Shape, order: Shape, dtype: str) -> str:
        if tuple(order) == tuple(range(len(shape))):
            return name
        target = tuple(shape[a] for a in order)
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        dims = ", ".join(map(str, order))
        return self._op(f"stablehlo.transpose {name}, dims = [{dims}] : {types}")

    def _reshape(self, name: str, shape: Shape, target: Shape, dtype: str) -> str:
        if shape == target:
            return name
        types = f"({tensor(shape, dtype)}) -> {tensor(target, dtype)}"
        return self._op(f"stablehlo.reshape {name} : {types}")

    def _concatenate(self, names: list[str], shapes: list[Shape], dim: int, dtype: str) -> str:
        if len(names) == 1:
            return names[0]
        target = list(shapes[0])
        target[dim] = sum(s[dim] for s in shapes)
        types = ", ".join(tensor(s, dtype) for s in shapes)
        return self._op(
            f"stablehlo.concatenate {', '.join(names)}, dim = {dim} : "
            f"({types}) -> {tensor(tuple(target), dtype)}"
        )
