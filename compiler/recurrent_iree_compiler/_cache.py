"""The cache of modules and artifacts: found by content, checked when read, bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from recurrent_iree_runtime import StorageError, write_atomic

_HEADER = 65  # hexadecimal SHA-256 of the payload, and a newline
_LARGEST_TABLE = 1 << 22
_PIECE = 1 << 24  # bytes under one hash
_SMALL = 1 << 18  # bytes of parts that are read together with others


def cache_key(text: str, flags: Sequence[str], version: str) -> str:
    """The name of an entry: a hash of everything that the compiler's output depends on.

    >>> cache_key("module {}", ["-a", "b"], "3.13") == cache_key("module {}", ["-a b"], "3.13")
    False
    """
    state = hashlib.sha256()
    for part in (version, *flags, text):
        data = part.encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


class Cache:
    """Bytes by key in a folder that several processes may use at once.

    An entry appears whole or not at all, and its hash is checked whenever it is read. A cache that
    cannot be written is no error: the work is simply done again.
    """

    def __init__(self, folder: Path, limit: int, kind: str = "modules-1") -> None:
        self.folder = folder / kind
        self.limit = limit

    def path(self, key: str) -> Path:
        """The file of an entry."""
        return self.folder / key[:2] / key

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`; `None` if there are none, or if they are damaged."""
        path = self.path(key)
        try:
            with path.open("rb", buffering=0) as file:
                header, payload = file.read(_HEADER), file.readall()
        except OSError:
            return None
        if header != _header(payload):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return payload

    def get_parts(self, key: str) -> dict[str, bytes] | None:
        """What `put_parts` kept, each part read into memory of its own; `None` as in `get`."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                table = _read_table(file)
                parts = _read_parts(file, [(name, size) for name, size, _ in table])
        except OSError:
            return None
        if not table or _table_of(parts) != table:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return parts

    def put(self, key: str, payload: bytes) -> None:
        """Keep the bytes under `key`, and remove old entries if the cache has become too large."""
        self._write(key, [_header(payload), payload])

    def put_parts(self, key: str, parts: Mapping[str, bytes]) -> None:
        """The same for several by name; their hashes are made on several threads."""
        table = json.dumps(_table_of(parts)).encode()
        size = len(table).to_bytes(8, "little")
        self._write(key, [_header(table), size, table, *parts.values()])

    def _write(self, key: str, pieces: Sequence[bytes]) -> None:
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, iter(pieces))
        except OSError:
            return
        self._evict(path)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Held by the one process that computes an entry; released by the system if it dies."""
        path = self.folder / "locks" / f"{key[:3]}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError as error:
            raise StorageError(
                f"the cache folder {self.folder} cannot be written ({error.strerror or error}); "
                "choose another one with BuildOptions(cache_dir=...), or use cache=False"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _evict(self, keep: Path) -> None:
        entries = []
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                info = path.stat()
                entries.append((info.st_mtime_ns, info.st_size, path))
        excess = sum(size for _, size, _ in entries) - self.limit
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            if path != keep:
                with contextlib.suppress(OSError):
                    path.unlink()
                excess -= size


def _header(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode() + b"\n"


def _read_table(file: BinaryIO) -> list[Any]:
    """Names, sizes and hashes of the parts that follow; none if that is damaged."""
    header, size = file.read(_HEADER), int.from_bytes(file.read(8), "little")
    table = file.read(min(size, _LARGEST_TABLE))
    return json.loads(table) if header == _header(table) else []


def _read_parts(file: BinaryIO, sizes: Sequence[tuple[str, int]]) -> dict[str, bytes]:
    """The parts, in few calls: after each of them this thread waits for its turn."""
    parts: dict[str, bytes] = {}
    for small, group in groupby(sizes, lambda each: each[1] < _SMALL):
        run = list(group)
        if not small:
            parts.update((name, file.read(size)) for name, size in run)
            continue
        together, at = file.read(sum(size for _, size in run)), 0
        for name, size in run:
            parts[name] = together[at : at + size]
            at += size
    return parts


def _table_of(parts: Mapping[str, bytes]) -> list[Any]:
    """For each part its name, its size, and the hashes of its pieces, made two at once if long."""
    pieces = [
        memoryview(part)[at : at + _PIECE]
        for part in parts.values()
        for at in range(0, len(part), _PIECE)
    ]
    long = sum(len(piece) == _PIECE for piece in pieces) > 1
    with ThreadPoolExecutor(2) if long else contextlib.nullcontext() as pool:
        hashes = iter(pool.map(_digest, pieces) if pool else map(_digest, pieces))
        return [
            [name, len(part), [next(hashes) for _ in range(0, len(part), _PIECE)]]
            for name, part in parts.items()
        ]


def _digest(piece: memoryview) -> str:
    return hashlib.sha256(piece).hexdigest()
