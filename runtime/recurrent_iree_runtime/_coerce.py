"""One argument of the user as the array that a compiled function takes, or a clear refusal."""

from typing import Any

import numpy as np

from ._codec import short
from ._dtypes import dtype_name, dtype_of
from ._errors import SignatureError
from ._manifest import Leaf

_NUMBERS = (bool, int, float, complex)


def shape_text(shape: tuple[int | str, ...]) -> str:
    """A shape for a message: `[batch, time, 40]`."""
    return "[" + ", ".join(map(str, shape)) + "]"


def coerce(value: Any, leaf: Leaf, where: str) -> np.ndarray:
    """An array of the leaf's rank whose dtype can become the leaf's without loss.

    Arrays must have the exact dtype in any byte order, or an integer dtype that fits into it.
    Python numbers and lists of them are converted if no value is lost. Nothing large is copied
    yet: `ready` does that, once the sizes are known to be right. Raises `SignatureError`, whose
    message starts with `where`.
    """
    wanted = dtype_of(leaf.dtype)
    array = _as_array(value, leaf, where, wanted)
    if array.dtype != wanted:
        _check_dtype(array, leaf, where, wanted)
    if array.ndim != len(leaf.shape):
        raise SignatureError(
            f"{where} has {array.ndim} dimensions (shape {list(array.shape)}); expected "
            f"{len(leaf.shape)}: {shape_text(leaf.shape)}"
        )
    return array


def ready(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    """The array as it goes to the device: C-contiguous, native byte order, the leaf's dtype."""
    return array.astype(dtype_of(leaf.dtype), order="C", copy=False, subok=False)


def _as_array(value: Any, leaf: Leaf, where: str, wanted: np.dtype) -> np.ndarray:
    expected = f"expected an array of {leaf.dtype}{shape_text(leaf.shape)}"
    if isinstance(value, np.ma.MaskedArray):
        raise SignatureError(
            f"{where} is a masked array, and its mask would be lost; {expected}. Fill it with "
            "`.filled(...)` and pass the mask as an input of its own"
        )
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if isinstance(value, (*_NUMBERS, list, tuple)):
        return _from_python(value, leaf, where, wanted, expected)
    if not isinstance(value, (str, bytes)) and hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype != object:
            return array
    raise SignatureError(f"{where} is {short(value)} ({type(value).__name__}); {expected}")


def _from_python(value: Any, leaf: Leaf, where: str, wanted: np.dtype, expected: str) -> np.ndarray:
    try:
        array = np.array(value)
    except (ValueError, OverflowError, TypeError) as error:
        raise SignatureError(
            f"{where} is a list that is no regular array of numbers; {expected}"
        ) from error
    if array.size == 0:
        return array.astype(wanted)
    if array.dtype.kind not in "biufc":
        raise SignatureError(f"{where} holds {array.dtype} values; {expected}")
    result = array
    if array.dtype.kind != "c" or wanted.kind == "c":  # else NumPy warns, and the cast is a loss
        with np.errstate(over="ignore", invalid="ignore"):
            result = array.astype(wanted)
    if (array.dtype.kind == "b") != (leaf.dtype == "bool") or not _kept(array, result):
        raise SignatureError(
            f"{where} is {short(value)}, which {leaf.dtype} cannot hold without loss; {expected}"
        )
    return result


def _kept(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the values survived; a rounded float is no loss, a float that overflowed is."""
    if before.dtype.kind in "fc" and after.dtype.kind in "fcV":
        kinds_fit = before.dtype.kind == "f" or after.dtype.kind == "c"
        wide = after.astype(np.complex128 if after.dtype.kind == "c" else np.float64)
        return kinds_fit and bool(np.all(np.isfinite(wide) == np.isfinite(before)))
    if after.dtype.kind == "V" or before.dtype.kind in "iu":
        back = after.astype(np.float64) if after.dtype.kind in "fV" else after
        return bool(np.all(back == before))
    return before.dtype.kind == after.dtype.kind


def _check_dtype(array: np.ndarray, leaf: Leaf, where: str, wanted: np.dtype) -> None:
    if array.dtype.newbyteorder("=") == wanted:
        return
    if array.dtype.kind in "iu" and wanted.kind in "iuf" and np.can_cast(array.dtype, wanted):
        return
    given = dtype_name(array.dtype)
    if array.dtype.kind in "biufcV" and array.dtype != object:
        spelled = f"np.{leaf.dtype}" if wanted.kind in "iufc" else repr(leaf.dtype)
        spelled = "bool" if leaf.dtype == "bool" else spelled
        hint = f"; convert it with `.astype({spelled})` if the loss is acceptable"
    else:
        hint = ""
    raise SignatureError(f"{where} has dtype {given}; expected {leaf.dtype}{hint}")
