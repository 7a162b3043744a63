"""The `.riree` file: read once into private memory, written whole or not at all."""

import contextlib
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import _zip_layout as layout
from ._errors import ArgumentError, ArtifactError, IntegrityError, NotAnArtifactError, StorageError
from ._manifest import LARGEST_MANIFEST, Manifest, Member, digest

FilePath = str | os.PathLike[str]


class Container:
    """The members of an artifact, whose headers have been checked but not yet their hashes.

    The bytes live in private memory, so that replacing or truncating the file later has no
    effect. Every member starts at a multiple of 64 bytes.
    """

    def __init__(self, data: memoryview, source: str) -> None:
        self.source = source
        self.size = len(data)
        self._data = data
        self._slots = {slot.name: slot for slot in _checked_slots(data, source)}

    @property
    def names(self) -> list[str]:
        """Member names in the order of the file."""
        return list(self._slots)

    def member(self, name: str) -> memoryview:
        """The bytes of one member, read-only and not copied; not yet checked against its hash."""
        slot = self._slots.get(name)
        if slot is None:
            raise IntegrityError(f"{self.source}: the member {name!r} is missing")
        return self._data[slot.data : slot.data + slot.size]

    def fits_checksum(self, name: str) -> bool:
        """Whether a member has its CRC-32, which finds accidents, not intent."""
        return zlib.crc32(self.member(name)) == self._slots[name].crc


def read_container(source: FilePath | bytes | bytearray | memoryview) -> Container:
    """Read a `.riree` file, or its bytes, and check that its layout is that of an artifact.

    Raises `NotAnArtifactError`, `IntegrityError`, or `ArtifactError` if it cannot be read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        given = memoryview(source).cast("B")
        memory = _aligned(len(given))
        memory[:] = np.frombuffer(given, np.uint8)
        return Container(memory.data.toreadonly(), "the artifact in memory")
    path = os.fspath(source)
    try:
        with open(path, "rb") as file:
            memory = _read_file(file, path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise ArtifactError(f"{path} does not fit into the memory of this machine") from error
    return Container(memory.data.toreadonly(), path)


def _read_file(file: Any, path: str) -> np.ndarray:
    info = os.fstat(file.fileno())
    if not stat.S_ISREG(info.st_mode):
        raise NotAnArtifactError(f"{path} is not a regular file")
    if info.st_size > layout.LARGEST_FILE:
        raise NotAnArtifactError(f"{path} has {info.st_size} bytes; artifacts have less than 4 GiB")
    start = file.read(4)
    if start != b"PK\3\4":
        raise NotAnArtifactError(_not_an_artifact(path))
    file.seek(0)
    memory = _aligned(info.st_size)
    filled = file.readinto(memory.data)
    if filled != info.st_size or file.read(1):
        raise IntegrityError(f"{path} was changed while it was read; load it again")
    return memory


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + layout.ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % layout.ALIGNMENT
    return memory[skip : skip + size]


def _not_an_artifact(source: str) -> str:
    return f"{source} is not a .riree artifact (it is no zip file with a manifest.json)"


def _checked_slots(data: memoryview, source: str) -> list[layout.Slot]:
    if bytes(data[:4]) != b"PK\3\4":
        raise NotAnArtifactError(_not_an_artifact(source))
    end = layout.read_end(data)
    if end is None:
        _changed(source, "its end is missing, or something was appended or prepended")
    count, size, start = end
    if count > layout.MOST_MEMBERS:
        _changed(source, f"it claims {count} members")
    rows = layout.read_directory(data[start : start + size], count)
    if rows is None:
        _changed(source, "its directory is damaged")
    _check_rows(rows, source)
    slots = layout.place([(name, crc, length) for name, crc, length, _ in rows])
    if layout.size_of(slots) != len(data) or layout.directory(slots) != bytes(data[start:]):
        _changed(source, "its directory does not fit its members")
    for slot in slots:
        if slot.local_header() != bytes(data[slot.header : slot.data]):
            _changed(source, f"the header of {slot.name!r} is damaged")
    return slots


def _check_rows(rows: list[tuple[str, int, int, int]], source: str) -> None:
    names = [row[0] for row in rows]
    if "manifest.json" not in names:
        raise NotAnArtifactError(_not_an_artifact(source))
    for name, _, _, method in rows:
        if not layout.MEMBER_NAME.fullmatch(name):
            _changed(source, f"it has a member with the forbidden name {name[:80]!r}")
        if method != 0:
            _changed(source, f"{name!r} is compressed; members of an artifact are stored")
    if len(set(names)) != len(names):
        _changed(source, "it has two members of one name")
    if names != layout.order(names):
        _changed(source, "its members are not in order")


def _changed(source: str, why: str) -> NoReturn:
    raise IntegrityError(
        f"{source} is damaged or was repacked: {why}. Copy it again from where it was built."
    )


def pack(
    manifest: Manifest, members: Mapping[str, bytes], known: Mapping[str, Member] | None = None
) -> dict[str, bytes]:
    """All members of an artifact: the given ones, and a manifest that lists their hashes.

    `known` holds the hashes that the caller has computed of some of the very same bytes.

    >>> from recurrent_iree_runtime import Manifest
    >>> m = Manifest(name="empty", default_entry="main", dims=(), entries=())
    >>> sorted(pack(m, {"report.json": b"{}"}))
    ['manifest.json', 'manifest.sha256', 'report.json']
    """
    for name in members:
        if name in layout.FIRST:
            raise ArgumentError(f"{name!r} is made by pack() and sign(), it cannot be given")
    known = known or {}
    table = {
        name: known[name] if name in known else Member(digest(data), len(data))
        for name, data in members.items()
    }
    text = replace(manifest, members=table).to_json()
    if len(text) > LARGEST_MANIFEST:
        raise ArgumentError(f"the manifest has {len(text)} bytes; at most {LARGEST_MANIFEST} fit")
    return {"manifest.json": text, "manifest.sha256": digest(text).encode(), **members}


def _chunks(members: Mapping[str, bytes]) -> Iterator[bytes]:
    """The file in pieces; the same members always give the same bytes."""
    for name in members:
        if not layout.MEMBER_NAME.fullmatch(name):
            raise ArgumentError(f"{name!r} cannot be a member name; use letters, digits and ._+-/")
    names = layout.order(list(members))
    slots = layout.place([(n, zlib.crc32(members[n]), len(members[n])) for n in names])
    end = layout.directory(slots) if layout.size_of(slots) <= layout.LARGEST_FILE else None
    if end is None:
        raise ArgumentError("the artifact would have 4 GiB or more; keep the weights apart")
    for slot in slots:
        yield slot.local_header()
        yield members[slot.name]
    yield end


def container_bytes(members: Mapping[str, bytes]) -> bytes:
    """The bytes of the file that `write_container` writes."""
    return b"".join(_chunks(members))


def write_container(path: FilePath, members: Mapping[str, bytes]) -> None:
    """Write an artifact: either the whole file is there afterwards, or `path` is as it was.

    `members` are all members, as `pack` returns them. Raises `StorageError`.
    """
    write_atomic(path, _chunks(members))


def write_atomic(path: FilePath, chunks: Iterator[bytes]) -> None:
    """Write chunks to a temporary file beside `path`, flush it to disk, and rename it.

    Raises `StorageError` (disk full, no permission, no such folder); nothing is left behind.
    """
    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
        )
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise StorageError(error.errno, f"{target} could not be written: {reason}") from error
        raise
    _sync_folder(target.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, on systems that can open a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
