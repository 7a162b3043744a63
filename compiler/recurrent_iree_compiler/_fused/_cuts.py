"""Cutting a nest of loops into parts for several workgroups: each runs a share of one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ._carried import segments
from ._index import Affine, variable
from ._tiles import Tile
from ._writer import Writer


@dataclass(frozen=True)
class Cut:
    """The part that is computed: `part` is the name of its number, of `parts`."""

    w: Writer
    part: str
    parts: int

    def axis(self, space: tuple[int, ...], tile: Tile, blocked: int | None) -> int:
        """The axis of `space` that is cut: the first one if it is long enough, or the lanes."""
        last = len(space) - 1
        plain = [a for a in range(last if tile.lanes else last + 1) if a != blocked]
        if plain and (not tile.lanes or space[plain[0]] >= self.parts):
            return plain[0]
        tiles = sum(s.tiles for s in segments(space[last], tile.lanes))
        return plain[0] if plain and space[plain[0]] > tiles else last

    @contextmanager
    def loop(self, starts: Sequence[int], width: int, odd: str = "") -> Iterator[Affine]:
        """The trips that begin in this part, if trip `n` begins at ``starts[n]`` of `width`.

        The last one is the first if the flag called `odd` is set.
        """
        bounds = [p * width for p in range(self.parts + 1)]
        firsts = [sum(s * self.parts < bound for s in starts) for bound in bounds]
        low, high = self._pick(firsts[:-1]), self._pick(firsts[1:])
        w, name = self.w, self.w.fresh()
        w.line(f"scf.for {name} = {low} to {high} step {w.index(1)} {{")
        with w.scope():
            yield turned(w, variable(name), w.op(f"arith.addi {low}, {high} : index"), odd)
        w.line("}")

    def _pick(self, values: list[int]) -> str:
        """The value of this part."""
        w, step = self.w, values[1] - values[0]
        if values == list(range(values[0], values[0] + step * len(values), step or 1)):
            scaled = w.op(f"arith.muli {self.part}, {w.index(step)} : index")
            return w.op(f"arith.addi {scaled}, {w.index(values[0])} : index")
        chosen = w.index(values[0])
        for number, value in enumerate(values[1:], 1):
            here = w.op(f"arith.cmpi eq, {self.part}, {w.index(number)} : index")
            chosen = w.op(f"arith.select {here}, {w.index(value)}, {chosen} : index")
        return chosen


def turned(w: Writer, trip: Affine, bounds: str, odd: str) -> Affine:
    """`trip`, or where the flag `odd` is set the one as far from the end; `bounds` is their sum.

    What was read last is then read first in the next step, while it is still in a cache: in one
    direction only, weights that are a little too large for it would push each other out.
    """
    if not odd:
        return trip
    one = w.index(1)
    back = w.op(
        f"arith.subi {w.op(f'arith.subi {bounds}, {one} : index')}, {w.address(trip)} : index"
    )
    return variable(w.op(f"arith.select {odd}, {back}, {w.address(trip)} : index"))
