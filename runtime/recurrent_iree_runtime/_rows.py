"""Rows of states: what one of the sequences of a batch has."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._codec import short
from ._errors import ArgumentError, ArgumentTypeError, StateError
from ._manifest import Leaf

BATCH = "batch"


def batch_axes(slots: Sequence[Leaf], doing: str) -> list[int]:
    """The axis of rows of each slot; raises `StateError` if a slot is shared by all rows."""
    for slot in slots:
        if BATCH not in slot.shape:
            raise StateError(
                f"{doing} needs states of separate rows, and the state {slot.name!r} has no dim "
                f"'batch' (shape {list(slot.shape)}): it is shared by all rows. Carry it per row "
                'in the program, with a spec that names the dim, such as "batch=8"'
            )
    return [slot.shape.index(BATCH) for slot in slots]


def row_numbers(rows: Any, batch: int) -> list[int]:
    """Row numbers from an integer, a sequence of integers, or a mask of booleans.

    Raises `ArgumentTypeError` or `ArgumentError`.
    """
    array = np.asarray(rows)
    if array.size == 0:
        return []
    if array.dtype == bool:
        if array.shape != (batch,):
            raise ArgumentError(
                f"rows is a mask of shape {list(array.shape)}; expected [{batch}], one per row"
            )
        return [int(i) for i in np.flatnonzero(array)]
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ArgumentTypeError(
            f"rows is {short(rows)}; expected row numbers, such as [0, 2], or a mask of booleans"
        )
    numbers = [int(i) for i in array.reshape(-1)]
    for number in numbers:
        if not 0 <= number < batch:
            raise ArgumentError(f"rows has {number}; this session has the rows 0 to {batch - 1}")
    return numbers


def replace_rows(
    states: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    axes: Sequence[int],
    rows: Sequence[int],
) -> None:
    """Overwrite rows of `states`, in place, by the same rows of `other`."""
    for name, axis in zip(states, axes, strict=True):
        place = (slice(None),) * axis + (list(rows),)
        states[name][place] = other[name][place]
