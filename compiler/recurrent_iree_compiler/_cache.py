"""The cache of modules and artifacts: found by content, checked when read, bounded in size."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from recurrent_iree_runtime import StorageError, write_atomic

_HEADER = 65  # hexadecimal SHA-256 of the payload, and a newline
_LARGEST_TABLE = 1 << 20


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
        state, parts = hashlib.sha256(), {}
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
                for name, size in _read_table(file, state):
                    parts[name] = file.read(size)
                    state.update(parts[name])
        except OSError:
            return None
        if header != _line(state):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return parts

    def put(self, key: str, payload: bytes) -> None:
        """Keep the bytes under `key`, and remove old entries if the cache has become too large."""
        self._put(key, [payload])

    def put_parts(self, key: str, parts: Mapping[str, bytes]) -> None:
        """The same for several by name."""
        table = json.dumps([[name, len(part)] for name, part in parts.items()]).encode()
        self._put(key, [len(table).to_bytes(8, "little"), table, *parts.values()])

    def _put(self, key: str, payload: Sequence[bytes]) -> None:
        path, state = self.path(key), hashlib.sha256()
        for part in payload:
            state.update(part)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, iter([_line(state), *payload]))
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
    return _line(hashlib.sha256(payload))


def _line(state: Any) -> bytes:
    return state.hexdigest().encode() + b"\n"


def _read_table(file: BinaryIO, state: Any) -> list[tuple[str, int]]:
    """Names and sizes of the parts that follow; none if that is damaged, as the hash will tell."""
    size = file.read(8)
    table = file.read(min(int.from_bytes(size, "little"), _LARGEST_TABLE))
    state.update(size)
    state.update(table)
    try:
        return [(str(name), max(0, int(count))) for name, count in json.loads(table)]
    except (ValueError, TypeError):
        return []
