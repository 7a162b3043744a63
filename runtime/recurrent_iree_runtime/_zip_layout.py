"""The one byte layout of an artifact: a stored zip with nothing left to choose.

Names, sizes and checksums decide every byte around the data, so the reader can rebuild the
headers and compare: a header that differs anywhere was changed.
"""

import re
import struct
from dataclasses import dataclass

ALIGNMENT = 64
LARGEST_FILE = (1 << 32) - 1
MOST_MEMBERS = 10_002

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_VERSION, _MADE_BY, _FLAGS, _STORED = 10, (3 << 8) | 20, 0, 0
_TIME, _DATE = 0, (1 << 5) | 1  # 1980-01-01 00:00, the first moment of a zip file
_MODE = 0o100644 << 16
_PADDING = 0xD935  # the extra field that Android's zipalign introduced for this purpose

MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
SIGNATURE = "signature.json"
FIRST = ("manifest.json", "manifest.sha256", SIGNATURE)


@dataclass(frozen=True)
class Slot:
    """One member: where its header and its data lie in the file."""

    name: str
    crc: int
    size: int
    header: int
    data: int

    def local_header(self) -> bytes:
        """The bytes between the end of the member before and the data of this one."""
        name = self.name.encode("ascii")
        extra = self.data - self.header - _LOCAL.size - len(name)
        fixed = _LOCAL.pack(
            b"PK\3\4",
            _VERSION,
            _FLAGS,
            _STORED,
            _TIME,
            _DATE,
            self.crc,
            self.size,
            self.size,
            len(name),
            extra,
        )
        return fixed + name + struct.pack("<HH", _PADDING, extra - 4) + bytes(extra - 4)

    def central_header(self) -> bytes:
        """The member's line in the directory at the end."""
        name = self.name.encode("ascii")
        fixed = _CENTRAL.pack(
            b"PK\1\2",
            _MADE_BY,
            _VERSION,
            _FLAGS,
            _STORED,
            _TIME,
            _DATE,
            self.crc,
            self.size,
            self.size,
            len(name),
            0,
            0,
            0,
            0,
            _MODE,
            self.header,
        )
        return fixed + name


def place(members: list[tuple[str, int, int]]) -> list[Slot]:
    """Slots of `(name, crc, size)` members, one after the other, data aligned."""
    slots, at = [], 0
    for name, crc, size in members:
        start = at + _LOCAL.size + len(name) + 4
        data = -(-start // ALIGNMENT) * ALIGNMENT
        slots.append(Slot(name, crc, size, at, data))
        at = data + size
    return slots


def directory(slots: list[Slot]) -> bytes:
    """The directory and the end record of the file."""
    body = b"".join(slot.central_header() for slot in slots)
    start = slots[-1].data + slots[-1].size if slots else 0
    count = len(slots)
    return body + _END.pack(b"PK\5\6", 0, 0, count, count, len(body), start, 0)


def size_of(slots: list[Slot]) -> int:
    """The size of the whole file."""
    lines = sum(_CENTRAL.size + len(slot.name) for slot in slots)
    return (slots[-1].data + slots[-1].size if slots else 0) + lines + _END.size


def order(names: list[str]) -> list[str]:
    """The order of members in the file: the manifest first, then sorted."""
    first = [name for name in FIRST if name in names]
    return first + sorted(name for name in names if name not in FIRST)


def read_end(data: memoryview) -> tuple[int, int, int] | None:
    """`(count, size, start)` of the directory, or `None` if the file does not end in one."""
    if len(data) < _END.size:
        return None
    mark, disk, disk2, here, count, size, start, comment = _END.unpack(data[-_END.size :])
    plain = mark == b"PK\5\6" and disk == disk2 == comment == 0 and here == count
    fits = start + size + _END.size == len(data)
    return (count, size, start) if plain and fits else None


def read_directory(data: memoryview, count: int) -> list[tuple[str, int, int, int]] | None:
    """`(name, crc, size, method)` of each line, or `None` if the directory is malformed."""
    rows, at = [], 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data):
            return None
        line = _CENTRAL.unpack_from(data, at)
        method, crc, size, length, extra, comment = line[4], *line[7:8], *line[9:13]
        name = bytes(data[at + _CENTRAL.size : at + _CENTRAL.size + length])
        at += _CENTRAL.size + length + extra + comment
        if line[0] != b"PK\1\2" or len(name) != length or at > len(data):
            return None
        rows.append((name.decode("latin-1"), crc, size, method))
    return rows if at == len(data) else None
