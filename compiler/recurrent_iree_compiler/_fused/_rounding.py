"""Rounding to whole numbers by arithmetic: not every target (wasm32) has it as an instruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._writer import compute_dtype

if TYPE_CHECKING:
    from ._elementwise import Lanes


def round_even(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    """To the nearest whole number, ties to even."""
    (x,) = operands
    _, rounded = _magnitudes(lanes, dtype, x)
    return lanes.op("math.copysign", dtype, rounded, x)


def round_away(lanes: Lanes, dtype: str, operands: Sequence[str]) -> str:
    """To the nearest whole number, ties away from zero."""
    (x,) = operands
    size, rounded = _magnitudes(lanes, dtype, x)
    left = lanes.op("arith.subf", dtype, size, rounded)
    tie = lanes.compare("oeq", dtype, left, lanes.constant(0.5, dtype))
    up = lanes.op("arith.addf", dtype, rounded, lanes.constant(1, dtype))
    return lanes.op("math.copysign", dtype, lanes.select(dtype, tie, up, rounded), x)


def _magnitudes(lanes: Lanes, dtype: str, x: str) -> tuple[str, str]:
    """`|x|`, and it rounded: numbers as large as `top` have no fraction, so adding it rounds."""
    top = lanes.constant(2.0 ** (52 if compute_dtype(dtype) == "f64" else 23), dtype)
    size = lanes.op("math.absf", dtype, x)
    moved = lanes.op("arith.addf", dtype, size, top)
    rounded = lanes.op("arith.subf", dtype, moved, top)
    small = lanes.compare("olt", dtype, size, top)
    return size, lanes.select(dtype, small, rounded, size)
