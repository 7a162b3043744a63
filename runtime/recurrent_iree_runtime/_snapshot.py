"""The states of a stream as bytes, which another process or device can go on from.

``RISNAP01``, the SHA-256 of all that follows, the length of the header (4 bytes, little-endian),
the header (canonical JSON), the states one after the other (little-endian, C order).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ._codec import Count, Range, decode, dump, encode, parse, short
from ._coerce import shape_text
from ._dtypes import dtype_of
from ._errors import ArgumentTypeError, IntegrityError, NotAnArtifactError, StateError, VersionError
from ._manifest import Function, Leaf, Manifest

MAGIC = b"RISNAP"
FORMAT = b"01"
LARGEST_HEADER = 1 << 20
_START = len(MAGIC) + len(FORMAT)
_HASHED = _START + 32
_TEXT = _HASHED + 4


@dataclass(frozen=True)
class _Header:
    program: str
    dims: dict[str, Annotated[int, Range(0, 1 << 40)]]
    states: Annotated[tuple[Leaf, ...], Count(10_000)]


def sized(slot: Leaf, dims: Mapping[str, int]) -> Leaf:
    """A state slot with the sizes of a session in the place of names."""
    shape = tuple(n if isinstance(n, int) else dims[n] for n in slot.shape)
    return Leaf(slot.name, shape, slot.dtype)


def write_snapshot(
    manifest: Manifest, function: Function, states: Mapping[str, np.ndarray]
) -> bytes:
    """The bytes of a snapshot; the same states give the same bytes."""
    slots = tuple(sized(slot, function.dims) for slot in manifest.states)
    header = dump(encode(_Header, _Header(manifest.name, dict(function.dims), slots)))
    arrays = [states[slot.name] for slot in slots]
    little = [a.astype(a.dtype.newbyteorder("<"), copy=False) for a in arrays]
    body = b"".join([len(header).to_bytes(4, "little"), header, *[a.tobytes() for a in little]])
    return b"".join([MAGIC, FORMAT, hashlib.sha256(body).digest(), body])


def read_snapshot(data: Any, manifest: Manifest) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """The sizes and the states by name.

    Raises `ArgumentTypeError` for anything but bytes, `NotAnArtifactError` for bytes that are no
    snapshot, `VersionError` for one of another format, `IntegrityError` for one that was changed,
    `StateError` for one of another program.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ArgumentTypeError(
            f"the snapshot is a {type(data).__name__}; expected the bytes that snapshot() returned"
        )
    view = memoryview(data).cast("B").toreadonly()
    if bytes(view[: len(MAGIC)]) != MAGIC or len(view) < _TEXT:
        raise NotAnArtifactError(
            f"these {len(view)} bytes are no snapshot; expected what session.snapshot() returned"
        )
    if bytes(view[len(MAGIC) : _START]) != FORMAT:
        raise VersionError(
            f"the snapshot has the format {bytes(view[len(MAGIC) : _START])!r}; this runtime reads "
            f"{FORMAT!r}. Restore it with the version of recurrent-iree-runtime that wrote it"
        )
    if hashlib.sha256(view[_HASHED:]).digest() != bytes(view[_START:_HASHED]):
        raise IntegrityError(
            "the snapshot was changed after it was taken: its SHA-256 does not fit its bytes. "
            "Start from another snapshot, or from the beginning with reset()"
        )
    header, body = _header(view)
    _check_program(header, manifest)
    return dict(header.dims), _arrays(header, body)


def _header(view: memoryview) -> tuple[_Header, memoryview]:
    length = int.from_bytes(view[_HASHED:_TEXT], "little")
    if length > min(LARGEST_HEADER, len(view) - _TEXT):
        raise NotAnArtifactError("the snapshot is malformed: its header is too long")
    document = parse(bytes(view[_TEXT : _TEXT + length]), "the snapshot")
    return decode(_Header, document, "the snapshot: $"), view[_TEXT + length :]


def _check_program(header: _Header, manifest: Manifest) -> None:
    if header.program != manifest.name:
        raise StateError(
            f"the snapshot is of the program {short(header.program)}, and this is "
            f"{manifest.name!r}; restore it into the program that it was taken from"
        )
    known = {name for slot in manifest.states for name in slot.shape if isinstance(name, str)}
    missing = sorted(known - set(header.dims))
    wanted = () if missing else [sized(slot, header.dims) for slot in manifest.states]
    if tuple(header.states) != tuple(wanted) or missing:
        raise StateError(
            f"the snapshot of {manifest.name!r} has the states {_text(header.states)}; this "
            f"artifact has {_text(manifest.states)}: it was compiled from another version of the "
            "program"
        )


def _text(slots: Any) -> str:
    listed = [f"{slot.name} {slot.dtype}{shape_text(slot.shape)}" for slot in slots[:8]]
    return ", ".join(listed) + (", ..." if len(slots) > 8 else "") or "none"


def _arrays(header: _Header, body: memoryview) -> dict[str, np.ndarray]:
    shapes = [[int(n) for n in slot.shape] for slot in header.states]
    dtypes = [dtype_of(slot.dtype) for slot in header.states]
    sizes = [math.prod(s) * d.itemsize for s, d in zip(shapes, dtypes, strict=True)]
    if sum(sizes) != len(body):
        raise NotAnArtifactError(
            f"the snapshot is malformed: it has {len(body)} bytes of states for {sum(sizes)}"
        )
    arrays, at = {}, 0
    for slot, shape, dtype, size in zip(header.states, shapes, dtypes, sizes, strict=True):
        array = np.frombuffer(body[at : at + size], dtype.newbyteorder("<")).reshape(shape)
        arrays[slot.name] = array.astype(dtype)
        at += size
    return arrays
