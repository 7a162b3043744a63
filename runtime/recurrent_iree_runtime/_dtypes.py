"""Names of element types, as they stand in manifests and weight files."""

from functools import cache

import ml_dtypes
import numpy as np

from ._errors import ArgumentError

_NUMPY = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
    "complex64 complex128"
).split()
_ML = "bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz int4 uint4".split()

DTYPE_NAMES: tuple[str, ...] = (*_NUMPY, *_ML)


@cache
def dtype_of(name: str) -> np.dtype:
    """The NumPy dtype of a manifest's dtype name; raises `ArgumentError` for any other name.

    >>> dtype_of("float32")
    dtype('float32')
    """
    if name in _NUMPY:
        return np.dtype(name)
    if name in _ML:
        return np.dtype(getattr(ml_dtypes, name))
    raise ArgumentError(f"dtype {name!r} is not known; expected one of {', '.join(DTYPE_NAMES)}")


def dtype_name(dtype: np.dtype) -> str:
    """The manifest's name of a NumPy dtype, whatever its byte order.

    >>> dtype_name(np.dtype(">f4"))
    'float32'
    """
    return dtype.name
