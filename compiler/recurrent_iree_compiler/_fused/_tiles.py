"""Choosing tiles: how many rows share a workgroup, how many rows and lanes share registers."""

from __future__ import annotations

from dataclasses import dataclass

from ._machine import Machine

MOST_ROWS = 4
_MOST_VECTORS = 4
# Sums that keep the multipliers busy: one row waits for its weights, several share each load.
_ENOUGH_ALONE = 4
_ENOUGH_SHARED = 16


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


def workgroup_rows(batch: int, row_bytes: int, machine: Machine) -> int:
    """Rows of a workgroup: the batch is split over the cores, in whole blocks of rows.

    What the rows keep between the loops of a step (`row_bytes` each) has to stay in the cache.
    """
    share = -(-batch // machine.cores)
    if share > MOST_ROWS:
        fits = machine.l2 // 4 // max(row_bytes, 1) // MOST_ROWS
        share = min(-(-share // MOST_ROWS), max(fits, 1)) * MOST_ROWS
    return min(batch, share)


def choose_tile(machine: Machine, bits: int, sums: int, rows: int, width: int) -> Tile:
    """The tile of a loop with `sums` products over `width` lanes and `rows` rows.

    Sums are kept in registers over the whole contraction. Too few leave the multipliers waiting for
    each other or for loads; too many spill.
    """
    native = machine.lanes(bits)
    while native > max(width, 1):
        native //= 2
    if not sums:
        return Tile(native, 1, 0, "element-wise: one vector register at a time")
    room = machine.registers * 3 // 4
    block = min(rows, MOST_ROWS)
    while block > 1 and block * sums > room:
        block -= 1
    enough = _ENOUGH_SHARED if block > 1 else _ENOUGH_ALONE
    vectors = 1
    while (
        vectors < _MOST_VECTORS
        and sums * block * vectors < enough
        and sums * block * vectors * 2 <= room
        and native * vectors * 2 <= width
    ):
        vectors *= 2
    reason = (
        f"{sums} sums x {block} rows x {vectors} registers of {native} lanes "
        f"in {machine.registers} registers"
    )
    return Tile(native * vectors, block, sums, reason)
