"""Choosing tiles: how many rows share a workgroup, how many rows and lanes share registers."""

from __future__ import annotations

from dataclasses import dataclass

from ._machine import Machine

MOST_ROWS = 4
_MOST_VECTORS = 4
# Sums that keep the multipliers busy where rows share each load; for one row see `Machine.chains`.
_ENOUGH_SHARED = 16


@dataclass(frozen=True)
class Demand:
    """What the products of one loop need.

    Attributes:
        sums: how many with lanes along the result run at once.
        shared: rows share what these read; otherwise each row reads arrays of its own.
        apart: others have lanes along the contracted axis, with a register for each sum.
    """

    sums: int
    shared: bool = True
    apart: bool = False


NO_PRODUCTS = Demand(0)


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


def choose_tile(machine: Machine, bits: int, demand: Demand, rows: int, width: int) -> Tile:
    """The tile of a loop with products that need `demand`, over `width` lanes and `rows` rows.

    Sums are kept in registers over the whole contraction. Too few leave the multipliers waiting for
    each other or for loads; too many spill.
    """
    native = machine.lanes(bits)
    while native > max(width, 1):
        native //= 2
    room = machine.registers * 3 // 4
    sums = demand.sums
    if not sums and demand.apart:
        block = min(rows, MOST_ROWS)
        while block > 1 and block * native > room:
            block -= 1
        return Tile(native, block, 0, f"{native} sums x {block} rows, lanes along what is summed")
    if not sums:
        return Tile(native, 1, 0, "element-wise: one vector register at a time")
    if demand.shared:
        block = min(rows, MOST_ROWS)
        while block > 1 and block * sums > room:
            block -= 1
        vectors = _side_by_side(machine, sums, block, width // native)
    else:
        block, vectors = 1, _doubled(sums, _ENOUGH_SHARED, room, width // native)
    reason = (
        f"{sums} sums x {block} rows x {vectors} registers of {native} lanes "
        f"in {machine.registers} registers"
    )
    return Tile(native * vectors, block, sums, reason)


def _side_by_side(machine: Machine, sums: int, rows: int, width: int) -> int:
    """Registers of a tile whose rows share the weights that are loaded; `width` is in registers."""
    room = machine.registers * 3 // 4
    if rows > 1:
        return _doubled(sums * rows, _ENOUGH_SHARED, room, min(width, _MOST_VECTORS))
    most = machine.chains if width % machine.chains == 0 else _MOST_VECTORS
    return _doubled(sums, machine.chains, room, min(width, most))


def _doubled(sums: int, enough: int, room: int, most: int) -> int:
    """Registers side by side, until there are `enough` sums."""
    vectors = 1
    while sums * vectors < enough and sums * vectors * 2 <= room and vectors * 2 <= most:
        vectors *= 2
    return vectors
