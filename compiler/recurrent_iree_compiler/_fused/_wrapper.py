"""The function around the kernel: packs weights, dispatches, and restores the types of results.

It takes the values that the kernel reads (constants, weights, first states, step inputs) and gives
the last states and the step outputs. IREE evaluates the packing once if the weights are constants
or immutable parameters.
"""

from __future__ import annotations

import math

from ._any_rows import count_rows
from ._buffers import Binding, Buffer
from ._carried import Segment
from ._executable import Executable
from ._ir import ANY, ANY_ROWS, Refused, Value
from ._packing import Gate, Pack, Source
from ._writer import storage_dtype

Shape = tuple[int, ...]

_NUMBERS = {ANY: "%steps", ANY_ROWS: "%batch"}


def tensor(shape: tuple[int, ...], dtype: str) -> str:
    """The text of a tensor type."""
    return f"tensor<{''.join('?x' if n in _NUMBERS else f'{n}x' for n in shape)}{dtype}>"


def sized(shape: tuple[int, ...], dtype: str) -> str:
    """The type as a dispatch writes it, with the numbers of steps and rows."""
    numbers = ", ".join(_NUMBERS[n] for n in shape if n in _NUMBERS)
    return tensor(shape, dtype) + (f"{{{numbers}}}" if numbers else "")


def _size(name: str, value: str, kind: str, axis: int) -> list[str]:
    """Lines that name the size of an axis."""
    at = f"{name}_axis"
    return [f"{at} = arith.constant {axis} : index", f"{name} = tensor.dim {value}, {at} : {kind}"]


def all_steps(shape: Shape, steps: int, batch_first: bool) -> Shape:
    """The shape of all steps of a value."""
    return (shape[0], steps, *shape[1:]) if batch_first else (steps, *shape)


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
        arguments: list[tuple[str, str]] = []
        for source, value in self.fixed:
            name_ = self.fresh()
            dtype = value.dtype if source != "codes" else kernel.narrow[value].dtype
            arguments.append((name_, tensor(self._sizes(value), dtype)))
            stored = self._stored(name_, self._sizes(value), dtype)
            self.names[source, value] = self._rows_first(stored, value, dtype, 0)
        for kind, values, steps in (
            ("init", [cell.carry[n] for n in self.carries], None),
            ("x", cell.xs, cell.length),
        ):
            for value in values:
                name_ = self.fresh()
                shape = self._sizes(value)
                if steps is not None:
                    shape = all_steps(shape, steps, value in cell.batch_first)
                arguments.append((name_, tensor(shape, value.dtype)))
                stored = self._stored(name_, shape, value.dtype)
                stacked = len(shape) - len(value.shape)
                self.names[kind, value] = self._rows_first(stored, value, value.dtype, stacked)
        self.order: list[tuple[str, int]] = []
        known = self._count_rows(arguments) if cell.rows else []
        if cell.any_length:
            known += _size("%steps", *arguments[len(self.fixed) + len(self.carries)], 0)
        self.lines[:0] = [f"  {line}" for line in known]
        self.text = self._text(arguments)

    def _sizes(self, value: Value) -> Shape:
        """The shape of `value` outside of the kernel."""
        rows = self.executable.kernel.cell.rows
        return tuple(ANY_ROWS if rows and n == rows else n for n in value.shape)

    def _count_rows(self, arguments: list[tuple[str, str]]) -> list[str]:
        """Lines that find the number of rows, and into how many workgroups they are split."""
        kernel = self.executable.kernel
        values = [v for _, v in self.fixed] + [kernel.cell.carry[n] for n in self.carries]
        values += kernel.cell.xs
        stacked = len(self.fixed) + len(self.carries)
        for number, (value, argument) in enumerate(zip(values, arguments, strict=True)):
            if value in kernel.stages.batch and kernel.any_rows is not None:
                axis = kernel.stages.batch[value] + (number >= stacked)
                blocks = kernel.any_rows
                split = count_rows(blocks.block, blocks.most_blocks, kernel.machine.cores)
                return [*_size("%batch", *argument, axis), *split]
        raise Refused("recurrent_iree.cell", "no argument of the kernel has its rows")

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
        if dtype != "i1" or any(n in _NUMBERS for n in shape):
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
        operands += executable.numbers
        kinds += ["index"] * len(executable.numbers)
        outs = [sized(self._shape(b), b.storage) for b in executable.writes]
        if not executable.on_stack:
            outs.append(self._own_memory())
        if executable.team:
            outs.append(operands[len(executable.reads)])
        run = executable.symbol + ("[%groups]" if executable.kernel.cell.rows else "")
        result = self.fresh()
        count = f":{len(outs)}" if len(outs) > 1 else ""
        self.lines.append(
            f"  {result}{count} = flow.dispatch {run}({', '.join(operands)}) : "
            f"({', '.join(kinds)}) -> ({', '.join(outs)})"
        )
        back = []
        for number, binding in enumerate(executable.writes):
            back.extend(self._results(binding, f"{result}#{number}" if count else result))
        cell = executable.kernel.cell
        shapes = [
            (self._sizes(cell.carry[n]), cell.carry[n].dtype)
            if role == "last"
            else (
                all_steps(self._sizes(cell.ys[n]), cell.length, n in cell.ys_batch_first),
                cell.ys[n].dtype,
            )
            for role, n in self.order
        ]
        types = ", ".join(tensor(*s) for s in shapes)
        head = ", ".join(f"{n}: {t}" for n, t in arguments)
        body = "\n".join(self.lines)
        return (
            f"func.func private @{self.name}({head}) -> ({types}) {{\n{body}\n"
            f"  return {', '.join(back)} : {types}\n}}\n"
        )

    def _own_memory(self) -> str:
        """The type of the memory of all workgroups."""
        if not self.executable.kernel.cell.rows:
            return tensor((self.executable.scratch_bytes,), "i8")
        each = self._op(f"arith.constant {self.executable.kernel.own_bytes()} : index")
        return f"tensor<?xi8>{{{self._op(f'arith.muli %groups, {each} : index')}}}"

    def _full_shape(self, buffer: Buffer) -> tuple[int, ...]:
        sizes = self._sizes(buffer.value)
        sizes = tuple(sizes[a] for a in self._order_of_rows(buffer.value))
        if buffer.role not in ("x", "y"):
            return sizes
        return all_steps(sizes, self.executable.kernel.cell.length, buffer.batch_first)

    def _order_of_rows(self, value: Value) -> tuple[int, ...]:
        """The axes of `value` in memory: rows whose number is not known are the first."""
        axes, sizes = range(len(value.shape)), self._sizes(value)
        return (*(a for a in axes if sizes[a] == ANY_ROWS), *(a for a in axes if sizes[a] >= 0))

    def _rows_first(self, name: str, value: Value, dtype: str, stacked: int) -> str:
        """`name` in the order of memory; `stacked` is 1 if it has an axis of time, too."""
        order = (*range(stacked), *(a + stacked for a in self._order_of_rows(value)))
        sizes = (*[self.executable.kernel.cell.length] * stacked, *self._sizes(value))
        return self._transpose(name, sizes, order, storage_dtype(dtype))

    def _as_outside(self, name: str, part: Buffer) -> str:
        """A result in the order of its axes outside of the kernel."""
        order, stacked = self._order_of_rows(part.value), int(part.role == "y")
        back = tuple(order.index(a) + stacked for a in range(len(order)))
        kind = storage_dtype(part.value.dtype)
        return self._transpose(name, self._full_shape(part), (*range(stacked), *back), kind)

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
            piece = self._as_outside(piece, part)
            stacked = int(part.role == "y")
            shape = (*shape[:stacked], *self._sizes(part.value))
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
