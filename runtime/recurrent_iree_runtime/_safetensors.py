"""Arrays by name in the `.safetensors` format, read with every bound checked."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._codec import dump, parse, short
from ._dtypes import dtype_name, dtype_of
from ._errors import ArgumentError, ArtifactError, NotAnArtifactError

LARGEST_HEADER = 64 << 20
ALIGNMENT = 64

_NAMES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_CODES = {name: code for code, name in _NAMES.items()}


def read_safetensors(data: memoryview | bytes, source: str) -> dict[str, np.ndarray]:
    """Arrays by name; they are read-only views of `data`.

    Raises `NotAnArtifactError` for anything that is not a well-formed safetensors file.
    """
    view = memoryview(data).cast("B").toreadonly()
    if len(view) < 8:
        raise NotAnArtifactError(f"{source} is not a safetensors file: it has {len(view)} bytes")
    length = int.from_bytes(view[:8], "little")
    if length > min(LARGEST_HEADER, len(view) - 8):
        raise NotAnArtifactError(f"{source} is not a safetensors file: its header is too long")
    header = _header(view[8 : 8 + length], source)
    body = view[8 + length :]
    arrays = {k: _tensor(k, v, body, source) for k, v in header.items() if k != "__metadata__"}
    used = sum(array.nbytes for array in arrays.values())
    if used != len(body):
        raise NotAnArtifactError(f"{source} has {len(body)} bytes of data for {used} in use")
    return arrays


def _header(text: memoryview, source: str) -> dict[str, Any]:
    try:
        document = parse(bytes(text).decode("utf-8").encode("ascii", "backslashreplace"), source)
    except UnicodeDecodeError as error:
        raise NotAnArtifactError(f"{source} has a header that is no UTF-8 text") from error
    if not isinstance(document, dict):
        raise NotAnArtifactError(f"{source} has a header that is no JSON object")
    return document


def _tensor(name: str, entry: Any, body: memoryview, source: str) -> np.ndarray:
    where = f"{source}: the array {short(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise NotAnArtifactError(f"{where} has no dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers, most in ((shape, 16), (offsets, 2)):
        if not isinstance(numbers, list) or len(numbers) > most:
            raise NotAnArtifactError(f"{where} has a malformed shape or data_offsets")
        if any(type(n) is not int or not 0 <= n < 1 << 48 for n in numbers):
            raise NotAnArtifactError(f"{where} has a size out of range")
    code = entry["dtype"]
    if not isinstance(code, str) or code not in _NAMES:
        raise NotAnArtifactError(f"{where} has the unknown dtype {short(code)}")
    dtype = dtype_of(_NAMES[code])
    size = math.prod(shape) * dtype.itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != size or offsets[1] > len(body):
        raise NotAnArtifactError(f"{where} has data_offsets that do not fit its shape")
    return np.frombuffer(body[offsets[0] : offsets[1]], dtype).reshape(shape)


def write_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file: arrays by descending item size, then by name.

    The data starts at a multiple of 64 bytes. Raises `ArgumentError` for a dtype that the
    format does not have.

    >>> list(read_safetensors(write_safetensors({"w": np.ones(3, np.float32)}), "w.safetensors"))
    ['w']
    """
    names = sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n))
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name in names:
        array = arrays[name]
        code = _CODES.get(dtype_name(array.dtype))
        if code is None:
            raise ArgumentError(f"array {name!r} has dtype {array.dtype}, which safetensors lacks")
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        offsets = [at, at + len(data)]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        parts.append(data)
        at += len(data)
    text = dump(header)
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def check_arrays(
    given: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[tuple[int, ...], str]], source: str
) -> None:
    """Refuse, with `ArtifactError`, arrays whose names, shapes or dtypes are not the wanted."""
    for name in wanted:
        if name not in given:
            raise ArtifactError(f"{source} has no array {name!r}; the program needs it")
    for name in given:
        if name not in wanted:
            raise ArtifactError(f"{source} has the array {name!r}, which the program does not use")
    for name, (shape, dtype) in wanted.items():
        array = given[name]
        if array.shape != shape or dtype_name(array.dtype) != dtype:
            raise ArtifactError(
                f"{source}: the array {name!r} is {dtype_name(array.dtype)}{list(array.shape)}; "
                f"the program needs {dtype}{list(shape)}"
            )
