"""Arguments of every kind, each with what must come of it, by rules of their own.

A case is `(name, value, array)`: `array` is what the program must compute with, or `None` if the
value must be refused.
"""

import array as arrays
import collections
import datetime
import decimal
import fractions
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

Case = tuple[str, Any, np.ndarray | None]

DTYPES = (
    "<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "<g", "?", "<i1", "<i2", ">i2", "<i4", ">i4", "<i8",
    "<u1", "<u2", ">u2", "<u4", "<u8", "<c8", "<c16", "<U3", "S3", "O", "<M8[s]", "<m8[s]", "V4",
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, [("a", "<f4")],
)  # fmt: skip
VALUES = {
    "plain": np.array([0.5, -1.25, 2.0, 0.0, -3.0, 1.0]),
    "nan": np.array([np.nan, 1.0]),
    "infinite": np.array([np.inf, -np.inf, 0.0]),
    "extreme": np.array([3.4e38, 1e-45, -0.0, 1e-38]),
}


def filled(shape: tuple[int, ...], dtype: Any, values: np.ndarray) -> np.ndarray:
    """An array of that shape and dtype with the values over and over."""
    count = int(np.prod(shape))
    flat = np.resize(values, count) if count else np.zeros(0)
    dtype = np.dtype(dtype)
    with np.errstate(all="ignore"):
        if dtype.kind in "fc" or dtype.name in ("bfloat16", "float8_e4m3fn"):
            made = flat.astype(dtype)
        elif dtype.kind in "biu" or dtype.name == "int4":
            made = (np.nan_to_num(np.abs(flat), posinf=1) % 3).astype(dtype)
        elif dtype.kind == "O":
            made = flat.astype(object)
        else:
            made = np.zeros(count, dtype)
    return made.reshape(shape)


def _unaligned(a: np.ndarray) -> np.ndarray:
    room = np.zeros(a.nbytes + 1, np.uint8)
    view = room[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


class _Subclass(np.ndarray):
    pass


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "negative": lambda a: np.flip(np.flip(a, -1).copy(), -1) if a.ndim else a,
    "transposed": lambda a: a.T.copy().T,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape) if a.size and a.ndim else a,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "subclass": lambda a: a.view(_Subclass),
}


def _fits(array: np.ndarray, good: Callable[[tuple[int, ...]], bool], dtype: str) -> bool:
    if not good(array.shape):
        return False
    if array.dtype.newbyteorder("=") == np.dtype(dtype):
        return True
    widens = {"float32": ("int8", "int16", "uint8", "uint16"), "bool": (),
              "int32": ("int8", "int16", "uint8", "uint16")}  # fmt: skip
    return array.dtype.name in widens[dtype]


def array_cases(
    shapes: tuple[tuple[int, ...], ...], good: Callable[[tuple[int, ...]], bool], dtype: str
) -> Iterator[Case]:
    """Every dtype in every shape, with layouts and values that take turns."""
    turn = 0
    for shape in shapes:
        for given in DTYPES:
            for name, layout in LAYOUTS.items():
                values = list(VALUES)[turn % len(VALUES)]
                turn += 1
                if np.dtype(given).hasobject and name == "unaligned":
                    continue
                value = layout(filled(shape, given, VALUES[values]))
                fits = _fits(value, good, dtype)
                wanted = np.array(value).astype(dtype) if fits else None
                yield f"{shape} {np.dtype(given)} {name} {values}", value, wanted


def odd_cases(plain: np.ndarray) -> Iterator[Case]:
    """Values that are no plain arrays; `plain` is one that fits."""
    numbers = plain.tolist()
    yield "list", numbers, plain
    yield "tuple", tuple(numbers), plain
    yield "list of arrays", list(plain), plain
    yield "masked, nothing masked", np.ma.masked_array(plain), None
    yield "masked", np.ma.masked_array(plain, plain == plain), None
    yield "ragged", [numbers[0], numbers[0][:-1] if np.ndim(numbers[0]) else [1]], None
    odd: dict[str, Any] = {
        "None": None, "str": "hello", "bytes": b"1234", "empty str": "", "Ellipsis": ...,
        "dict": {"x": plain}, "set": {1.0}, "object": object(), "type": float, "function": len,
        "generator": (n for n in numbers), "range": range(3), "deque": collections.deque([1.0]),
        "memoryview": memoryview(plain.tobytes()), "array.array": arrays.array("f", [1.0]),
        "Decimal": decimal.Decimal(1), "Fraction": fractions.Fraction(1, 2),
        "date": datetime.date(2020, 1, 1), "exception": ValueError("x"), "slice": slice(3),
        "list of None": [None], "list of str": ["1", "2"], "list of dict": [{}],
        "list of object": [object()], "list of list of None": [[None, 1.0]], "huge int": 10**400,
        "list of huge ints": [10**400], "complex": 1j, "list of complex": [1j], "bytearray":
        bytearray(b"12"), "NotImplemented": NotImplemented, "module": np, "str array":
        np.array("x"), "object scalar": np.array(None), "array of lists": np.array([[1], [2, 3]],
        dtype=object), "datetime": np.datetime64("2020"), "void": np.void(b"abcd"),
    }  # fmt: skip
    for name, value in odd.items():
        yield name, value, None
    deep: Any = numbers
    for _ in range(70):
        deep = [deep]
    yield "deep list", deep, None
