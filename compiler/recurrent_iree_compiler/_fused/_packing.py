"""Packed copies of weights: in memory exactly in the order in which a loop reads them.

A packed weight of one loop is ``[outer axes][tiles][contracted][gates][lanes]``, one such block for
each segment of the lanes, all in one flat tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ._buffers import Buffer
from ._carried import Segment
from ._index import Affine
from ._ir import Value, row_major
from ._narrow import Narrow, Side

if TYPE_CHECKING:
    from ._stages import Stages


Source = Literal["const"] | Side


@dataclass(frozen=True)
class Gate:
    """One weight in a pack: for each of its axes the start, and which axis of the loop runs it.

    `axes` holds for each axis of the weight either ``("contract", n)``, ``("loop", n)``,
    ``("lane", 0)`` or ``("fixed", 0)``, and `starts` where it begins.
    """

    value: Value
    axes: tuple[tuple[str, int], ...]
    starts: tuple[int, ...]


@dataclass
class Pack:
    """One packed tensor.

    Attributes:
        outer: (loop axis, size) of the outer axes, in order.
        contract: sizes of the contracted axes.
        gates: what lies side by side.
        source: the weights themselves, or the stored numbers or the scales that they are made of.
        parts: segments of the lanes and where each begins.
    """

    outer: tuple[tuple[int, int], ...]
    contract: tuple[int, ...]
    gates: tuple[Gate, ...]
    buffer: Buffer
    source: Source = "const"
    parts: list[tuple[Segment, int]] = field(default_factory=list)

    @property
    def is_in_order(self) -> bool:
        """Whether the weight itself already lies as the pack would."""
        first, *more = self.gates
        loops = [("loop", number) for number, _ in self.outer]
        summed = [("contract", number) for number in range(len(self.contract))]
        whole = len(self.parts) == 1 and self.parts[0][0].tiles == 1
        same = list(first.axes) == [*loops, *summed, ("lane", 0)]
        return not more and whole and same and first.value.size == self.buffer.length

    def reserve(self, segments: list[Segment]) -> None:
        """Lay out the blocks of all segments."""
        each = math.prod(size for _, size in self.outer) * math.prod(self.contract)
        for segment in segments:
            self.parts.append((segment, self.buffer.length))
            self.buffer.length += each * len(self.gates) * segment.tiles * segment.lanes

    def same_as(self, other: Pack) -> bool:
        """Whether both are the same memory, laid out in the same way."""
        return (self.outer, self.contract, self.gates, self.source, self.parts) == (
            (other.outer, other.contract, other.gates, other.source, other.parts)
        ) and self.buffer.storage == other.buffer.storage

    def start(self, segment: Segment) -> int:
        """Where the block of `segment` begins."""
        return next(start for known, start in self.parts if known == segment)


@dataclass(frozen=True)
class Packed:
    """Where one product finds its weight."""

    buffer: Buffer
    side: int
    base: Affine
    steps: tuple[int, ...]
    scale: Packed | None = None

    def at(self, inner: list[Affine]) -> Affine:
        total = self.base
        for i, step in zip(inner, self.steps, strict=True):
            total = total + i * step
        return total


class Packer:
    """Plans the packs of one loop; the same products of another row block find the same pack.

    Weights are asked for `ahead` bytes before they are read; 0: not at all.
    """

    def __init__(
        self,
        packs: list[Pack],
        lanes: int,
        narrow: Mapping[Value, Narrow] | None = None,
        ahead: int = 0,
    ) -> None:
        self.packs = packs
        self.lanes = lanes
        self.narrow = narrow or {}
        self.ahead = ahead
        self.mine: dict[Any, Pack] = {}
        self.segment = Segment(0, 1, 1)
        self.tile = Affine()
        self.sizes: tuple[int, ...] = ()
        self.segments: list[Segment] = []
        self.axes: dict[str, int] = {}

    def plan(self, stages: Stages, terms: list[Any], sizes: tuple[int, ...]) -> list[Packed | None]:
        """For each product the pack with its weight, or ``None`` if it is read in place."""
        found: list[tuple[int, Gate, Any] | None] = [self._gate(stages, t) for t in terms]
        groups: dict[Any, list[int]] = {}
        for number, entry in enumerate(found):
            if entry is not None:
                outer = tuple(sorted({n for kind, n in entry[1].axes if kind == "loop"}))
                groups.setdefault((outer, *self._stored(entry[1])), []).append(number)
        result: list[Packed | None] = [None] * len(terms)
        for (outer, dtype, scaled), members in groups.items():
            gates = tuple(
                sorted(
                    dict.fromkeys(found[m][1] for m in members),  # pyright: ignore
                    key=lambda gate: (gate.value.name, gate.starts),
                )
            )
            pack = self._pack(outer, sizes, gates, dtype)
            scales = self._scales(outer, gates) if scaled else None
            for m in members:
                side, gate, names = found[m]  # pyright: ignore
                number = gates.index(gate)
                scale = self._locate(scales, side, number, names) if scales else None
                result[m] = replace(self._locate(pack, side, number, names), scale=scale)
        return result

    def _stored(self, gate: Gate) -> tuple[str, bool]:
        """The element type in which a weight is packed, and whether it has a scale."""
        narrow = self.narrow.get(gate.value)
        summed = [n for n, (kind, _) in enumerate(gate.axes) if kind == "contract"]
        if narrow is None or not narrow.scale_is_fixed_along(summed):
            return gate.value.dtype, False
        return narrow.dtype, narrow.varies is not None

    def _gate(self, stages: Stages, term: Any) -> tuple[int, Gate, dict[int, str]] | None:
        for side in (0, 1):
            value = term.op.operands[side]
            marks = [Affine(terms=((f"k{n}", 1),)) for n in range(len(term.sizes))]
            index = term.at(side, marks)
            if not stages.is_weight(value) or not any(i.lane for i in index):
                continue
            axes, starts, names = [], [], {}
            for i in index:
                kind = self._axis(i)
                if kind is None:
                    return None
                axes.append(kind[:2])
                starts.append(i.const - (self.segment.start if kind[0] == "lane" else 0))
                if kind[0] == "loop":
                    names[kind[1]] = kind[2]
            return side, Gate(value, tuple(axes), tuple(starts)), names
        return None

    def _axis(self, i: Affine) -> tuple[str, int, str] | None:
        """What runs along one axis of a weight: lanes, a loop, the contraction, or nothing."""
        if i.row:
            return None
        if i.lane:
            lanes = self.tile * self.segment.lanes
            return ("lane", 0, "") if i.lane == 1 and i.terms == lanes.terms else None
        if not i.terms:
            return ("fixed", 0, "")
        (name, factor), *more = i.terms
        if more or factor != 1:
            return None
        if name.startswith("k"):
            return ("contract", int(name[1:]), "")
        return ("loop", self.axes[name], name) if name in self.axes else None

    def _scales(self, outer: tuple[int, ...], gates: tuple[Gate, ...]) -> Pack:
        """One number for each channel: those at the start of the contracted axes."""
        fixed = []
        for gate in gates:
            summed = [kind == "contract" for kind, _ in gate.axes]
            axes = tuple(("fixed", 0) if s else a for a, s in zip(gate.axes, summed, strict=True))
            starts = tuple(0 if s else n for n, s in zip(gate.starts, summed, strict=True))
            fixed.append(Gate(gate.value, axes, starts))
        return self._pack(outer, (), tuple(fixed), "f32", "scale")

    def _pack(
        self,
        outer: tuple[int, ...],
        sizes: tuple[int, ...],
        gates: tuple[Gate, ...],
        dtype: str,
        source: Source = "const",
    ) -> Pack:
        key = (outer, sizes, gates, source)
        if key not in self.mine:
            value = gates[0].value
            if dtype != value.dtype:
                value, source = replace(value, dtype=dtype), "codes"
            buffer = Buffer(value, "packed", len(self.packs), 0, (), None, False, 0)
            buffer.name = f"%pack{len(self.packs)}"
            pack = Pack(tuple((n, self.sizes[n]) for n in outer), sizes, gates, buffer, source)
            pack.reserve(self.segments)
            same = next((p for p in self.packs if p.same_as(pack)), None)
            self.mine[key] = same or pack
            if same is None:
                self.packs.append(pack)
        return self.mine[key]

    def _locate(self, pack: Pack, side: int, gate: int, names: dict[int, str]) -> Packed:
        segment = self.segment
        start = pack.start(segment)
        width = len(pack.gates) * segment.lanes
        block = math.prod(pack.contract) * width
        base = Affine(start + gate * segment.lanes, lane=1) + self.tile * block
        span = segment.tiles * block
        for axis, size in reversed(pack.outer):
            if axis in names:
                base = base + Affine(terms=((names[axis], span),))
            span *= size
        steps = tuple(s * width for s in row_major(pack.contract))
        return Packed(pack.buffer, side, base, steps)
