"""The dispatch that packs weights: it copies them into the order in which a step reads them.

IREE runs it once, when the module is loaded, if the weights are constants or immutable parameters.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack

from ._carried import Segment
from ._index import Affine
from ._ir import Value, row_major
from ._packing import Gate, Pack
from ._writer import Writer, vector

MOST_WEIGHTS = 24  # beside each other in one dispatch; IREE allows 32 buffers
_PER_GROUP = 256 << 10  # bytes that are worth a workgroup of their own


class PackKernel:
    """The text of a `stream.executable` that makes one pack.

    Attributes:
        values: the weights that it reads, in the order of its operands.
        joined: whether they lie behind each other in a single operand, because they are many.
        symbol: its name, which follows from what it does: equal ones are the same.
        text: of the executable.
    """

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.values = list(dict.fromkeys(gate.value for gate in pack.gates))
        self.joined = len(self.values) > MOST_WEIGHTS
        self.groups = self._count_groups()
        self.w = Writer()
        for segment, start in pack.parts:
            self._segment(segment, start)
        body = self._body()
        self.symbol = f"pack_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
        self.text = self._executable(body)

    def sizes(self) -> list[int]:
        """How many numbers each operand has."""
        sizes = [value.size for value in self.values]
        return [sum(sizes)] if self.joined else sizes

    def _count_groups(self) -> int:
        total = 4 * self.pack.buffer.length
        most = max(segment.tiles for segment, _ in self.pack.parts)
        return max(min(total // _PER_GROUP, most), 1)

    def _segment(self, segment: Segment, start: int) -> None:
        """Copy one segment: ``[outer][tiles][contracted][gates][lanes]``."""
        pack, w = self.pack, self.w
        width = len(pack.gates) * segment.lanes
        block = math.prod(pack.contract) * width
        span = segment.tiles * block
        with ExitStack() as nest:
            first = "%group" if self.groups > 1 else ""  # each workgroup has tiles of its own
            tile = nest.enter_context(w.loop(segment.tiles, first, self.groups))
            to = Affine(start) + tile * block
            at: dict[tuple[str, int], Affine] = {("fixed", 0): Affine()}
            at["lane", 0] = Affine(segment.start) + tile * segment.lanes
            for number, size in reversed(pack.outer):
                at["loop", number] = nest.enter_context(w.loop(size))
                to = to + at["loop", number] * span
                span *= size
            steps = row_major(pack.contract)
            for number, (size, step) in enumerate(zip(pack.contract, steps, strict=True)):
                at["contract", number] = nest.enter_context(w.loop(size))
                to = to + at["contract", number] * (step * width)
            for number, gate in enumerate(pack.gates):
                self._copy(gate, at, to.plus(number * segment.lanes), segment.lanes)

    def _copy(self, gate: Gate, at: dict[tuple[str, int], Affine], to: Affine, lanes: int) -> None:
        """Copy the lanes of one gate, at once if they are neighbours."""
        steps = row_major(gate.value.shape)
        source = Affine(self._offset(gate.value))
        for axis, first, step in zip(gate.axes, gate.starts, steps, strict=True):
            source = source + at[axis].plus(first) * step
        apart = steps[gate.axes.index(("lane", 0))]
        number = 0 if self.joined else self.values.index(gate.value)
        if apart == 1 and lanes > 1:
            self._move(number, source, to, lanes)
            return
        with self.w.loop(lanes) as lane:
            self._move(number, source + lane * apart, to + lane, 0)

    def _move(self, number: int, source: Affine, to: Affine, lanes: int) -> None:
        w = self.w
        kind = vector(self.pack.buffer.storage, lanes)
        dialect, both = ("vector", f", {kind}") if lanes else ("memref", "")
        read, write = self._memory(self.sizes()[number]), self._memory(self.pack.buffer.length)
        value = w.fresh()
        w.line(f"{value} = {dialect}.load %w{number}[{w.address(source)}] : {read}{both}")
        w.line(f"{dialect}.store {value}, %out[{w.address(to)}] : {write}{both}")

    def _offset(self, value: Value) -> int:
        """Where `value` begins in its operand."""
        before = self.values[: self.values.index(value)]
        return sum(v.size for v in before) if self.joined else 0

    def _memory(self, size: int) -> str:
        return f"memref<{size}x{self.pack.buffer.storage}>"

    def _body(self) -> str:
        zero = self.w.index(0)
        names = [(f"w{n}", size) for n, size in enumerate(self.sizes())]
        names.append(("out", self.pack.buffer.length))
        bound = [
            f"  %{name} = stream.binding.subspan %bind_{name}[{zero}] : "
            f"!stream.binding -> {self._memory(size)}"
            for name, size in names
        ]
        group = ["  %group = hal.interface.workgroup.id[0] : index"] * (self.groups > 1)
        taken = ", ".join(f"%bind_{name}: !stream.binding" for name, _ in names)
        lines = [*self.w.constants, *bound, *group, *self.w.lines]
        return "\n".join([f"({taken}) {{", *lines, "  return", "}"])

    def _executable(self, body: str) -> str:
        name = self.symbol
        return f"""
stream.executable private @{name} {{
  stream.executable.export public @{name}_run workgroups() -> (index, index, index) {{
    %one = arith.constant 1 : index
    %count = arith.constant {self.groups} : index
    stream.return %count, %one, %one : index, index, index
  }}
  builtin.module {{
    func.func @{name}_run{body}
  }}
}}
"""
