"""Loops that carry values, and how an axis is cut into full and shorter tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ._index import Affine, variable
from ._writer import Writer


@dataclass(frozen=True)
class Segment:
    """`tiles` neighbouring tiles of `lanes` lanes, from `start` on."""

    start: int
    tiles: int
    lanes: int

    @property
    def starts(self) -> range:
        """Where each tile begins."""
        return range(self.start, self.start + self.tiles * self.lanes, self.lanes)


def segments(size: int, lanes: int) -> list[Segment]:
    """Full tiles, then tiles of half the size and so on: no lane is masked, none is done twice.

    Example:
        >>> [(s.start, s.tiles, s.lanes) for s in segments(23, 8)]
        [(0, 2, 8), (16, 1, 4), (20, 1, 2), (22, 1, 1)]
    """
    found = []
    start = 0
    while start < size:
        while lanes > size - start:
            lanes //= 2
        tiles = (size - start) // lanes
        found.append(Segment(start, tiles, lanes))
        start += tiles * lanes
    return found


@dataclass
class Carried:
    """Inside: `values` are those of the iteration. Set `after` to the new ones."""

    values: list[str]
    after: list[str] = field(default_factory=list)


@contextmanager
def carried_loop(
    w: Writer, stop: int, step: int, values: Sequence[str], types: Sequence[str]
) -> Iterator[tuple[Affine, Carried]]:
    """A loop from 0 to `stop`; afterwards `after` holds the results."""
    if stop <= step:
        carried = Carried(list(values))
        with w.scope():
            yield Affine(), carried
        return
    counter = w.fresh()
    inner = [w.fresh() for _ in values]
    result = w.fresh()
    count = f":{len(values)}" if len(values) > 1 else ""
    starts = ", ".join(f"{i} = {v}" for i, v in zip(inner, values, strict=True))
    bounds = f"{w.index(0)} to {w.index(stop)} step {w.index(step)}"
    kinds = ", ".join(types)
    w.line(f"{result}{count} = scf.for {counter} = {bounds} iter_args({starts}) -> ({kinds}) {{")
    carried = Carried(inner)
    with w.scope():
        yield variable(counter), carried
        w.line(f"scf.yield {', '.join(carried.after)} : {kinds}")
    w.line("}")
    carried.after = [f"{result}#{n}" for n in range(len(values))] if count else [result]


def unroll(size: int, most: int) -> int:
    """The largest divisor of `size` that is at most `most`."""
    return max(n for n in range(1, most + 1) if size % n == 0)
