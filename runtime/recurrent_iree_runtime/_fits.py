"""Whether arguments can go to the device as they are: the check that every step pays for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Spec = tuple[np.dtype, tuple[int | None, ...]]


def fitting(specs: Sequence[Spec]) -> Callable[[Sequence[Any]], bool]:
    """A function that says whether values are plain arrays of these dtypes and shapes.

    They must be C-contiguous, too. Whatever else an array may be is left to `coerce`.
    """
    if len(specs) == 1:
        return _fitting_one(*specs[0])

    def fits(values: Sequence[Any]) -> bool:
        if len(values) != len(specs):
            return False
        for value, (dtype, shape) in zip(values, specs, strict=True):
            if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
                return False
            if not value.flags.c_contiguous:
                return False
        return True

    return fits


def _fitting_one(dtype: np.dtype, shape: tuple[int | None, ...]) -> Callable[[Sequence[Any]], bool]:
    plain = np.ndarray

    def fits(values: Sequence[Any]) -> bool:
        if len(values) != 1:
            return False
        value = values[0]
        return (type(value) is plain and value.dtype == dtype and value.shape == shape
                and value.flags.c_contiguous)  # fmt: skip

    return fits
