"""The function around the kernel: packs weights, dispatches, and restores the types of results.

It takes the values that the kernel reads (constants, weights, first states, step inputs) and gives
the last states and the step outputs. IREE evaluates the packing once if the weights are constants
or immutable parameters.
"""

from __future__ import annotations

import math

from ._any_rows import count_rows
from ._buffers import Binding, Buffer
from ._executable import Executable
from ._ir import ANY_ROWS, Refused, Value
from ._lines import Lines, Shape, sized, tensor
from ._packed import PackWriter
from ._packing import Source
from ._writer import storage_dtype


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
        self.w = Lines()
        self.names: dict[tuple[str, Value], str] = {}
        self.packs = PackWriter(self.w, self.names)
        kernel = executable.kernel
        cell = kernel.cell
        weights: list[tuple[Source, Value]] = [
            (p.source, g.value) for p in kernel.packs for g in p.gates
        ]
        direct: list[tuple[Source, Value]] = [
            ("const", part.value) for b in executable.consts for part in b.parts
        ]
        self.fixed = list(dict.fromkeys([*direct, *weights]))
        self.carries = [b.index for b in kernel.memory.inits]
        arguments: list[tuple[str, str]] = []
        for source, value in self.fixed:
            name_ = self.w.fresh()
            dtype = value.dtype if source != "codes" else kernel.narrow[value].dtype
            arguments.append((name_, tensor(self._sizes(value), dtype)))
            stored = self.w.stored(name_, self._sizes(value), dtype)
            self.names[source, value] = self._rows_first(stored, value, dtype, 0)
        for kind, values, steps in (
            ("init", [cell.carry[n] for n in self.carries], None),
            ("x", cell.xs, cell.length),
        ):
            for value in values:
                name_ = self.w.fresh()
                shape = self._sizes(value)
                if steps is not None:
                    shape = all_steps(shape, steps, value in cell.batch_first)
                arguments.append((name_, tensor(shape, value.dtype)))
                stored = self.w.stored(name_, shape, value.dtype)
                stacked = len(shape) - len(value.shape)
                self.names[kind, value] = self._rows_first(stored, value, value.dtype, stacked)
        self.order: list[tuple[str, int]] = []
        known = self._count_rows(arguments) if cell.rows else []
        if cell.any_length:
            known += _size("%steps", *arguments[len(self.fixed) + len(self.carries)], 0)
        self.w.lines[:0] = [f"  {line}" for line in known]
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

    def _text(self, arguments: list[tuple[str, str]]) -> str:
        executable = self.executable
        operands, kinds = [], []
        for binding in executable.reads:
            name, shape = self._operand(binding)
            operands.append(name)
            kinds.append(sized(shape, binding.storage))
        if executable.team:
            zero = self.w.op("arith.constant 0 : i32")
            counters = tensor((executable.team.length,), "i32")
            operands.append(self.w.op(f"flow.tensor.splat {zero} : {counters}"))
            kinds.append(counters)
        operands += executable.numbers
        kinds += ["index"] * len(executable.numbers)
        outs = [sized(self._shape(b), b.storage) for b in executable.writes]
        if not executable.on_stack:
            outs.append(self._own_memory())
        if executable.team:
            outs.append(operands[len(executable.reads)])
        run = executable.symbol + ("[%groups]" if executable.kernel.cell.rows else "")
        result = self.w.fresh()
        count = f":{len(outs)}" if len(outs) > 1 else ""
        self.w.lines.append(
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
        body = "\n".join(self.w.lines)
        return (
            f"func.func private @{self.name}({head}) -> ({types}) {{\n{body}\n"
            f"  return {', '.join(back)} : {types}\n}}\n"
        )

    def _own_memory(self) -> str:
        """The type of the memory of all workgroups."""
        if not self.executable.kernel.cell.rows:
            return tensor((self.executable.scratch_bytes,), "i8")
        each = self.w.op(f"arith.constant {self.executable.kernel.own_bytes()} : index")
        return f"tensor<?xi8>{{{self.w.op(f'arith.muli %groups, {each} : index')}}}"

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
        return self.w.transpose(name, sizes, order, storage_dtype(dtype))

    def _as_outside(self, name: str, part: Buffer) -> str:
        """A result in the order of its axes outside of the kernel."""
        order, stacked = self._order_of_rows(part.value), int(part.role == "y")
        back = tuple(order.index(a) + stacked for a in range(len(order)))
        kind = storage_dtype(part.value.dtype)
        return self.w.transpose(name, self._full_shape(part), (*range(stacked), *back), kind)

    def _shape(self, binding: Binding) -> tuple[int, ...]:
        joined = len(binding.parts) > 1
        return (binding.length,) if joined else self._full_shape(binding.parts[0])

    def _operand(self, binding: Binding) -> tuple[str, tuple[int, ...]]:
        first = binding.parts[0]
        if first.role == "packed":
            pack = next(p for p in self.executable.kernel.packs if p.buffer is first)
            return self.packs.pack(pack), (first.length,)
        names = [self.names[part.role, part.value] for part in binding.parts]
        if len(names) == 1:
            return names[0], self._full_shape(first)
        sizes = [(part.value.size,) for part in binding.parts]
        flat = [
            self.w.reshape(name, self._full_shape(part), size, part.storage)
            for name, part, size in zip(names, binding.parts, sizes, strict=True)
        ]
        return self.w.concatenate(flat, sizes, 0, first.storage), (first.length,)

    def _results(self, binding: Binding, name: str) -> list[str]:
        """The results in `binding`, with their own shapes and types."""
        made = []
        for part in binding.parts:
            piece, shape = name, self._full_shape(part)
            if len(binding.parts) > 1:
                size = math.prod(shape)
                window = [(part.start, part.start + size)]
                piece = self.w.slice(name, (part.length,), window, part.storage)
                piece = self.w.reshape(piece, (size,), shape, part.storage)
            piece = self._as_outside(piece, part)
            shape = self._sizes(part.value)
            if part.role == "y":
                length = self.executable.kernel.cell.length
                shape = all_steps(shape, length, part.batch_first)
            made.append((part, self.w.restored(piece, shape, part.value.dtype)))
        self.order.extend((part.role, part.index) for part, _ in made)
        return [piece for _, piece in made]
