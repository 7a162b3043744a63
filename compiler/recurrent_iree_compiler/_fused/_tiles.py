"""Choosing tiles: how many rows share a workgroup, how many rows and lanes share registers."""

from __future__ import annotations

from dataclasses import dataclass

from ._machine import Machine

_MOST_ROWS = 4
_MOST_VECTORS = 4


@dataclass(frozen=True)
class Tile:
    """Registers of one loop.

    Attributes:
        lanes: lanes of a tile (several vector registers if that hides latency); 0: by element.
        rows: rows of a block.
        sums: running sums that are alive at once in the products, per row and vector register.
        reason: why.
    """

    lanes: int
    rows: int
    sums: int
    reason: str


def workgroup_rows(batch: int, machine: Machine) -> int:
    """Rows of a workgroup: the batch is split over the cores, in whole blocks of rows."""
    share = -(-batch // machine.cores)
    if share > _MOST_ROWS:
        share = -(-share // _MOST_ROWS) * _MOST_ROWS
    return min(batch, share)


def choose_tile(machine: Machine, bits: int, sums: int, rows: int, width: int) -> Tile:
    """The tile of a loop with `sums` products over `width` lanes and `rows` rows.

    Sums are kept in registers over the whole contraction. Fewer than eight leave the multipliers
    waiting for each other; too many spill.
    """
    native = machine.lanes(bits)
    while native > max(width, 1):
        native //= 2
    if not sums:
        return Tile(native, 1, 0, "element-wise: one vector register at a time")
    room = machine.registers * 3 // 4
    block = min(rows, _MOST_ROWS)
    while block > 1 and block * sums > room:
        block -= 1
    vectors = 1
    while (
        vectors < _MOST_VECTORS
        and sums * block * vectors < 8
        and sums * block * vectors * 2 <= room
        and native * vectors * 2 <= width
    ):
        vectors *= 2
    reason = (
        f"{sums} sums x {block} rows x {vectors} registers of {native} lanes "
        f"in {machine.registers} registers"
    )
    return Tile(native * vectors, block, sums, reason)
