"""Attacks on the zip layout: what a hostile archiver could write."""

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

NAMES = ("../evil", "/etc/passwd", "a/../../b", "C:\\x", "con\0.json", "manifest.json/", "..", "é",
         "a//b", "./report.json", "-x", ".hidden", "x" * 300, "REPORT.JSON", "a ")  # fmt: skip


def _zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def _starts(data: bytes, mark: bytes) -> list[int]:
    """Where headers begin."""
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def twice(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    name = draw.choice(list(members))
    listed = list(members.items())
    listed.insert(draw.randrange(len(listed) + 1), (name, draw.randbytes(draw.randrange(50))))
    return _zip(listed)


def bad_name(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    listed = list(members.items())
    listed.insert(draw.randrange(len(listed) + 1), (draw.choice(NAMES), b"x"))
    return _zip(listed)


def renamed_in_place(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    old = draw.choice(list(members)).encode()
    bad = (b"../" * len(old))[: len(old)]
    other = draw.choice([bad, b"/" + old[1:], old[:-1] + b"\0", draw.randbytes(len(old))])
    return data.replace(old, other) if draw.random() < 0.5 else data.replace(old, other, 1)


def bomb(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    name = draw.choice(list(members))
    return _zip(list({**members, name: bytes(1 << 20)}.items()), zipfile.ZIP_DEFLATED)


def claimed_size(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    """Sizes, offsets and counts of the directory, so that members overlap or claim gigabytes."""
    changed = bytearray(data)
    starts = _starts(data, b"PK\1\2")
    at = draw.choice(starts) + draw.choice((16, 20, 24, 28, 30, 32, 34, 36, 38, 42))
    value = draw.choice((0, 1, 63, 64, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF, len(data)))
    struct.pack_into("<I", changed, at, value)
    return bytes(changed)


def overlap(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    """Two lines of the directory that point at the same or at a shifted place."""
    changed = bytearray(data)
    starts = _starts(data, b"PK\1\2")
    a, b = draw.sample(starts, 2)
    (offset,) = struct.unpack_from("<I", data, b + 42)
    struct.pack_into("<I", changed, a + 42, min(offset + draw.choice((0, 0, 1, 64)), 0xFFFFFFFF))
    return bytes(changed)


def end_record(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    changed = bytearray(data)
    at = len(data) - 22 + draw.choice((4, 6, 8, 10, 12, 16, 20))
    form, most = draw.choice((("<H", 0xFFFF), ("<I", 0xFFFFFFFF)))
    room = len(changed) - struct.calcsize(form)
    struct.pack_into(form, changed, min(at, room), draw.choice((0, 1, most, draw.randrange(most))))
    return bytes(changed)


def flags(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    """Encrypted, compressed, with other versions: in local headers or in the directory."""
    changed = bytearray(data)
    starts = _starts(data, draw.choice((b"PK\1\2", b"PK\3\4")))
    struct.pack_into("<H", changed, draw.choice(starts) + 4 + 2 * draw.randrange(5),
                     draw.choice((1, 8, 9, 12, 93, 0x800, 0xFFFF)))  # fmt: skip
    return bytes(changed)


def repacked(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    listed = list(members.items())
    draw.shuffle(listed)
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    return _zip(listed, draw.choice(methods))


def prepended(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    return draw.choice((b"#!/bin/sh\n", data[:64], draw.randbytes(draw.randrange(1, 100)))) + data


def two_archives(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    other = _zip([("manifest.json", b"{}"), ("x", b"y")])
    return draw.choice((data + other, other + data, data + data))


def comment(draw: random.Random, data: bytes, members: dict[str, bytes]) -> bytes:
    text = draw.randbytes(draw.randrange(1, 200))
    return data[:-2] + struct.pack("<H", len(text)) + text


Attack = Callable[[random.Random, bytes, dict[str, bytes]], bytes]
ATTACKS: tuple[Attack, ...] = (
    twice, bad_name, renamed_in_place, bomb, claimed_size, claimed_size, overlap, end_record, flags,
    repacked, prepended, two_archives, comment,
)  # fmt: skip


def attacked(draw: random.Random, data: bytes, members: dict[str, bytes]) -> tuple[str, bytes]:
    """The name of an attack and the file that it makes."""
    attack = draw.choice(ATTACKS)
    return attack.__name__, attack(draw, data, members)
