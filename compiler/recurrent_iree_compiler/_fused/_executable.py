"""The text of the `stream.executable`: an export with its workgroups, and the kernel function."""

from __future__ import annotations

from ._buffers import Binding, aligned
from ._kernel import STACK, Kernel


class Executable:
    """What the kernel reads and writes, in the order of its bindings, and its text."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        body = "\n".join(kernel.w.lines)
        self.consts = [b for b in kernel.memory.const_bindings if f"{b.name}[" in body]
        self.reads: list[Binding] = [
            *self.consts,
            *(Binding(p.buffer.name, [p.buffer]) for p in kernel.packs),
            *kernel.memory.init_bindings,
            *(Binding(b.name, [b]) for b in kernel.memory.xs),
        ]
        self.writes: list[Binding] = kernel.memory.result_bindings
        self.team = kernel.team
        self.workgroups = kernel.sharing.parts if self.team else kernel.workgroups
        self.on_stack = kernel.own_bytes() <= STACK and self.team is None
        self.scratch_bytes = 0 if self.on_stack else max(kernel.own_bytes(), 64) * kernel.workgroups
        self.text = self._text(body)

    @property
    def bindings(self) -> int:
        extra = (not self.on_stack) + (self.team is not None)
        return len(self.reads) + len(self.writes) + extra

    @property
    def numbers(self) -> list[str]:
        """The numbers that the kernel takes after its inputs."""
        cell = self.kernel.cell
        return [*(["%steps"] if cell.any_length else []), *(["%batch", "%share"] * bool(cell.rows))]

    @property
    def symbol(self) -> str:
        """The export, as a dispatch names it."""
        return f"@{self.name}::@{self.name}_run"

    def _text(self, body: str) -> str:
        names = [b.name[1:] for b in [*self.reads, *self.writes]]
        names += [] if self.on_stack else ["own"]
        kinds = [f"%bind_{n}: !stream.binding" for n in names]
        given = [f"{name}: index" for name in self.numbers]
        if self.team:
            given.insert(0, "%bind_team: !stream.binding")
        kinds[len(self.reads) : len(self.reads)] = given
        arguments = ", ".join(kinds)
        groups, count = "", f"%count = arith.constant {self.workgroups} : index"
        if self.kernel.cell.rows:
            groups, count = "%count: index", ""
        run = f"@{self.name}_run"
        return f"""
stream.executable private @{self.name} {{
  stream.executable.export public {run} workgroups({groups}) -> (index, index, index) {{
    %one = arith.constant 1 : index
    {count}
    stream.return %count, %one, %one : index, index, index
  }}
  builtin.module {{
    func.func @{self.name}_run({arguments}) {{
{self._head()}
{body}
      return
    }}
  }}
}}
"""

    def _head(self) -> str:
        kernel = self.kernel
        zero = kernel.w.index(0)
        lines = []
        for buffer in [*self.reads, *self.writes]:
            sizes = ""
            if buffer.sizes:
                sizes = kernel.w.index(buffer.parts[0].each)
                for factor in buffer.sizes:
                    lines.append(f"{kernel.w.fresh()} = arith.muli {sizes}, {factor} : index")
                    sizes = f"%{kernel.w.counter}"
            lines.append(_subspan(buffer.name, buffer.name[1:], zero, buffer.type, sizes))
        if self.team:
            lines.append(_subspan("%team", "team", zero, self.team.type))
        if kernel.cell.rows:
            lines.append("%group = hal.interface.workgroup.id[0] : index")
        elif kernel.workgroups > 1:
            step, last = kernel.w.index(kernel.rows), kernel.w.index(kernel.batch - kernel.rows)
            lines.append("%group = hal.interface.workgroup.id[0] : index")
            lines.append(f"%first = arith.muli %group, {step} : index")
            lines.append(f"%row0 = arith.minui %first, {last} : index")
        lines.extend(self._own_memory())
        return "\n".join([*kernel.w.constants, *(f"  {line}" for line in lines)])

    def _own_memory(self) -> list[str]:
        kernel = self.kernel
        lines = [
            f"{buffer.name} = memref.alloca() alignment = 64 : {buffer.type}"
            for buffer in (kernel.own if self.on_stack else kernel.local)
        ]
        if self.on_stack:
            return lines
        base = kernel.w.index(0)
        if kernel.workgroups > 1 or kernel.cell.rows:
            size = kernel.w.index(kernel.own_bytes())
            lines.append(f"%own = arith.muli %group, {size} : index")
            base = "%own"
        start = 0
        for buffer in kernel.own:
            offset = f"%at_{buffer.name[1:]}"
            lines.append(f"{offset} = arith.addi {base}, {kernel.w.index(start)} : index")
            lines.append(_subspan(buffer.name, "own", offset, buffer.type))
            start += aligned(buffer)
        return lines


def _subspan(name: str, binding: str, offset: str, kind: str, size: str = "") -> str:
    sizes = f"{{{size}}}" if size else ""
    source = f"stream.binding.subspan %bind_{binding}[{offset}]"
    return f"{name} = {source} : !stream.binding -> {kind}{sizes}"
