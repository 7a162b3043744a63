"""Changed bytes of an artifact: what disks, networks and careless tools do to a file."""

import random

SPAN = 64


def flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.choice((1, 1, 1, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def truncate(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


def truncate_a_little(draw: random.Random, data: bytearray) -> None:
    del data[len(data) - draw.randrange(1, 80) :]


def cut(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    del data[at : at + draw.randrange(1, 200)]


def zero(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    size = len(data[at : at + draw.choice((1, SPAN, 4096))])
    data[at : at + size] = bytes(size)


def garbage(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    size = len(data[at : at + draw.choice((1, SPAN, 4096))])
    data[at : at + size] = draw.randbytes(size)


def insert(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data))
    data[at:at] = draw.randbytes(draw.randrange(1, 100))


def append(draw: random.Random, data: bytearray) -> None:
    data += draw.choice((bytes, draw.randbytes))(draw.randrange(1, 100))


def repeat(draw: random.Random, data: bytearray) -> None:
    data += data[-draw.randrange(1, len(data) + 1) :]


def swap(draw: random.Random, data: bytearray) -> None:
    a, b = (draw.randrange(len(data) - SPAN) for _ in range(2))
    data[a : a + SPAN], data[b : b + SPAN] = data[b : b + SPAN], data[a : a + SPAN]


def nothing_left(draw: random.Random, data: bytearray) -> None:
    data[:] = draw.choice((b"", b"P", b"PK", b"PK\3\4", b"PK\5\6" + bytes(18), bytes(len(data))))


CHANGES = (flip, flip, flip, flip, truncate, truncate_a_little, cut, zero, garbage, insert, append,
           repeat, swap, nothing_left)  # fmt: skip


def changed_bytes(draw: random.Random, data: bytes) -> tuple[str, bytes]:
    """The name of a change and the changed file."""
    change = draw.choice(CHANGES[:-1] if draw.random() < 0.98 else CHANGES)
    changed = bytearray(data)
    change(draw, changed)
    return change.__name__, bytes(changed)
