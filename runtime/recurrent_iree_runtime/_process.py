"""What must happen to open models when the process forks or ends."""

import atexit
import ctypes
import os
import weakref
from typing import Protocol


class Closes(Protocol):
    """What is told about the end."""

    def close(self) -> None: ...

    def abandon(self, why: str) -> None: ...


def leak(thing: object) -> None:
    """Never free an object: its destructor would wait for threads that a fork left behind."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_open: "weakref.WeakSet[Closes]" = weakref.WeakSet()


def register(model: Closes) -> None:
    """Close the model at the end of the process; refuse its use in a forked child."""
    _open.add(model)


def _close_all() -> None:
    # IREE crashes if a state on the device outlives the device object, as it may at exit.
    for model in list(_open):
        model.close()


def _after_fork() -> None:
    for model in list(_open):
        model.abandon(
            "the model was loaded before this process was forked, and device queues do not "
            "survive a fork; load it again in the child process"
        )


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
