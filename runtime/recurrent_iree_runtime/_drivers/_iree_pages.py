"""Huge pages for the packed weights of a module, on Linux.

IREE packs weights when a module is loaded, into memory that it allocates. A step reads all of them,
and with pages of 4 KiB more than 12 MB are more than the processor remembers places of. So
what loading has mapped is made huge pages afterwards, where it is large and the system allows it.
Only where one thread reads them all: on two, each of which reads a half, it gained nothing.
"""

import ctypes
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LARGE = 8 << 20
_HUGE = 2 << 20
_ADVISE, _COLLAPSE = 14, 25  # MADV_HUGEPAGE, and MADV_COLLAPSE of Linux 6.1
_MOST = 4  # copies of the weights: what else was mapped meanwhile is left alone
_ANONYMOUS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(\[heap\])?$")

Range = tuple[int, int]


@contextmanager
def huge_pages(weights: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Make huge pages of what is mapped inside, if `weights` are large; else do nothing."""
    size = sum(array.nbytes for array in weights.values())
    if size < LARGE or not _allowed():
        yield
        return
    before = _mapped()
    yield
    new = without(_mapped(), before)
    if sum(end - start for start, end in new) <= _MOST * size:
        collapse(new)


def without(ranges: list[Range], others: list[Range]) -> list[Range]:
    """What of `ranges` is in none of `others`; both are in order."""
    found = []
    for start, end in ranges:
        for low, high in others:
            if low < end and high > start:
                if low > start:
                    found.append((start, low))
                start = max(start, high)
        if start < end:
            found.append((start, end))
    return [(start, end) for start, end in found if end - start >= LARGE]


def collapse(ranges: list[Range]) -> None:
    """Ask for huge pages; a system that cannot or does not want to leaves everything as it is."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, end in ranges:
        first = -(-start // _HUGE) * _HUGE
        last = end // _HUGE * _HUGE
        if last > first:
            madvise(first, last - first, _ADVISE)
            for place in range(first, last, _HUGE):
                madvise(place, _HUGE, _COLLAPSE)


def _allowed() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        setting = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return False
    return "[never]" not in setting


def _mapped() -> list[Range]:
    """Private memory that belongs to no file, in order."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = (_ANONYMOUS.match(line) for line in lines)
    return [(int(m[1], 16), int(m[2], 16)) for m in found if m is not None]
