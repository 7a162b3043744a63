"""Packing weights before the dispatch, so that a step reads them in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ._carried import Segment
from ._ir import Value
from ._lines import Lines
from ._packing import Gate, Pack


@dataclass
class PackWriter:
    """Writes to `w` what makes packed weights of the values called `names`."""

    w: Lines
    names: Mapping[tuple[str, Value], str]

    def pack(self, pack: Pack) -> str:
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
            name = self.w.reshape(name, (*outer, count, span, depth), shape, dtype)
            order = (*range(rank), rank + 1, rank + 3, rank, rank + 2)
            name = self.w.transpose(name, shape, order, dtype)
            total = math.prod(shape)
            parts.append(self.w.reshape(name, tuple(shape[a] for a in order), (total,), dtype))
            sizes.append((total,))
        return self.w.concatenate(parts, sizes, 0, dtype)

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
        name = self.w.reshape(self.names[pack.source, gate.value], shape, cut, dtype)
        span = segment.tiles * segment.lanes
        window = [(0, n) for n in cut]
        window[lane + 1] = (segment.start, segment.start + span)
        name = self.w.slice(name, cut, window, dtype)
        cut = tuple(b - a for a, b in window)
        axes = [*gate.axes[:lane], ("gates", 0), *gate.axes[lane:]]
        wanted = [("loop", n) for n, _ in pack.outer] + [("gates", 0), ("lane", 0)]
        wanted += [("contract", n) for n in range(len(pack.contract))]
        order = tuple(axes.index(w) for w in wanted)
        name = self.w.transpose(name, cut, order, dtype)
        outer = tuple(size for _, size in pack.outer)
        target = (*outer, count, span, math.prod(pack.contract))
        return self.w.reshape(name, tuple(cut[a] for a in order), target, dtype)

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
            made.append(self.w.reshape(name, shape, alone, dtype))
        shapes = [(*outer, 1, *shape[len(outer) :])] * len(made)
        return self.w.concatenate(made, shapes, len(outer), dtype)

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
        name = self.w.slice(name, shape, window, dtype)
        shape = tuple(b - a for a, b in window)
        loops = [(kind, number) for kind, number in gate.axes if kind == "loop"]
        order = [gate.axes.index(("loop", n)) for n, _ in pack.outer if ("loop", n) in loops]
        order += [gate.axes.index(("lane", 0))]
        order += [gate.axes.index(("contract", n)) for n in range(len(pack.contract))]
        order += [a for a, (kind, _) in enumerate(gate.axes) if kind == "fixed"]
        name = self.w.transpose(name, shape, tuple(order), dtype)
        shape = tuple(shape[a] for a in order)
        target = (*(size for _, size in pack.outer), span, math.prod(pack.contract))
        return self.w.reshape(name, shape, target, dtype)
