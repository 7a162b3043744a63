"""Devices that keep the memory of a call for the next one, and give it back when nobody is left.

A call of compiled gradients needs some 100 MB for what the forward pass keeps. The C library maps
and unmaps blocks of that size each time, and the system clears every page anew: a fifth of the time
of such a call. IREE's caching allocator keeps freed blocks for requests of the same size.
"""

import os
import weakref
from typing import Any

# Of one device: blocks of up to 512 MiB in all, 64 of them. More is given back at once.
KEEPING = ("caching:*=512mib;512mib;64",)
_MARK = "#keeping"


def keeping(uri: str) -> str:
    """The name under which the device of `uri` that keeps memory is known."""
    return uri + _MARK


def plain(name: str) -> tuple[str, bool]:
    """The URI in a name, and whether the device keeps memory.

    >>> plain(keeping("local-sync"))
    ('local-sync', True)
    """
    uri, mark, _ = name.partition(_MARK)
    return uri, bool(mark)


class Lease:
    """Held by those who use a device that keeps memory, which is given back after the last."""

    def __init__(self, allocator: Any) -> None:
        end = weakref.finalize(self, _give_back, allocator, os.getpid())
        end.atexit = False


def _give_back(allocator: Any, process: int) -> None:
    # The memory of a parent process is not a forked child's to free, nor its locks to take.
    if os.getpid() == process:
        allocator.trim()
