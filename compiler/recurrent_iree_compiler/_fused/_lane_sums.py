"""Sums across the lanes of many vectors at once.

Two vectors become one, in which each has half of the lanes, summed in pairs; and so on, until one
vector is left. That takes two shuffles for each vector, where lane after lane would be summed.
"""

from __future__ import annotations

from ._writer import Writer, is_float, vector

_BLOCK = 128  # bits; within so many, every processor moves lanes at little cost


class LaneSums:
    """Sums of vectors of `kind`, written to `w`."""

    def __init__(self, w: Writer, kind: str) -> None:
        self.w = w
        self.kind = kind
        self.block = _BLOCK // int(kind[1:])

    def of(self, names: list[str], width: int) -> str:
        """A vector of which lane `n` is the sum over the `width` lanes of ``names[n]``.

        Both numbers are powers of two.
        """
        while width > len(names):
            names = [self._fold(name, width) for name in names]
            width //= 2
        groups = [names[n : n + width] for n in range(0, len(names), width)]
        return self.join([self._tree(group, width) for group in groups], width)

    def join(self, names: list[str], width: int) -> str:
        """Vectors of `width` lanes side by side."""
        while len(names) > 1:
            mask = list(range(2 * width))
            names = [self._shuffle(*pair, mask, width) for pair in _pairs(names)]
            width *= 2
        return names[0]

    def _fold(self, name: str, width: int) -> str:
        """Half as many lanes: the sums of those of both halves."""
        half = width // 2
        low, high = (
            self._shuffle(name, name, list(range(start, start + half)), width)
            for start in (0, half)
        )
        return self._add(low, high, half)

    def _tree(self, names: list[str], width: int) -> str:
        """As many vectors as lanes: pairs of neighbours, first within blocks of lanes."""
        block = min(self.block, width)
        merged = 1
        while len(names) > 1:
            unit, period = (1, block) if merged < block else (block, width)
            even, odd = (_every_other(unit, period, width, first) for first in (0, 1))
            names = [
                self._add(
                    self._shuffle(*pair, even, width), self._shuffle(*pair, odd, width), width
                )
                for pair in _pairs(names)
            ]
            merged *= 2
        return names[0]

    def _add(self, a: str, b: str, width: int) -> str:
        add = "arith.addf" if is_float(self.kind) else "arith.addi"
        return self.w.op(f"{add} {a}, {b} : {vector(self.kind, width)}")

    def _shuffle(self, a: str, b: str, mask: list[int], width: int) -> str:
        kind = vector(self.kind, width)
        return self.w.op(f"vector.shuffle {a}, {b} {mask} : {kind}, {kind}")


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return list(zip(names[::2], names[1::2], strict=True))


def _every_other(unit: int, period: int, width: int, first: int) -> list[int]:
    """A shuffle: in each `period` lanes, every other `unit` lanes of one vector, then of the next.

    Example:
        >>> _every_other(1, 4, 8, 0)
        [0, 2, 8, 10, 4, 6, 12, 14]
    """
    return [
        source + start + place + lane
        for start in range(0, width, period)
        for source in (0, width)
        for place in range(first * unit, period, 2 * unit)
        for lane in range(unit)
    ]
