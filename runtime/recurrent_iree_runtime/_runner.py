"""The loaded module of a model: functions bound once, on one device or on two CPU queues."""

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from ._drivers._base import ArraySpec, Call, Executable, Signature
from ._manifest import Entry, Function, Leaf, Manifest

STREAM = ("chunk", "init")


class UsesRunner(Protocol):
    """What holds states on the device, and must hear of what happens to its runner."""

    def adopt(self, old: "Runner", new: "Runner") -> None: ...

    def lose(self, runner: "Runner") -> None: ...

    def close(self) -> None: ...

    def abandon(self, why: str) -> None: ...


def group_of(entry: str) -> str:
    """Calls that share state must share a device queue.

    `stream` has the sessions; `whole` has complete calls, also those made of chunks.
    """
    return "stream" if entry in STREAM else "whole"


def _shape(leaf: Leaf, function: Function) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) else function.dims.get(n) for n in leaf.shape)


def _spec(leaf: Leaf, function: Function, step: bool) -> ArraySpec:
    shape = _shape(leaf, function)
    if not step or "time" not in leaf.shape:
        return ArraySpec(shape, leaf.dtype)
    axis = leaf.shape.index("time")
    return ArraySpec(shape, leaf.dtype, view=shape[:axis] + shape[axis + 1 :])


def state_specs(manifest: Manifest, function: Function) -> tuple[ArraySpec, ...]:
    """The states as a function of `chunk` or `init` sees them."""
    return tuple(ArraySpec(_shape(s, function), s.dtype) for s in manifest.states)


def signature_of(
    manifest: Manifest, entry: Entry, function: Function, step: bool = False
) -> Signature:
    """What goes in and out of one compiled function; with `step`, without the axis of time."""
    states = state_specs(manifest, function) if entry.name in STREAM else ()
    return Signature(
        symbol=function.symbol,
        inputs=tuple(_spec(leaf, function, step) for leaf in entry.inputs),
        states_in=states if entry.name == "chunk" else (),
        outputs=tuple(_spec(x, function, step) for x in entry.outputs if x.from_input is None),
        states_out=states,
    )


class Runner:
    """Executables by group of entries, and their bound functions."""

    def __init__(self, manifest: Manifest, executables: dict[str, Executable]) -> None:
        self._manifest = manifest
        self._executables = executables
        self._calls: dict[tuple[Any, ...], Call] = {}
        self._lock = threading.Lock()
        self.home: object = object()
        """The same for runners that can use each other's states."""

    def instead_of(self, old: "Runner") -> "Runner":
        """Take the place of a runner on the same devices that has other weights."""
        self.home = old.home
        return self

    def call(self, entry: Entry, function: Function, step: bool = False, group: str = "") -> Call:
        """The bound function, by default of the entry's own group; bound on first use."""
        group = group or group_of(entry.name)
        key = (group, entry.name, function.symbol, step, *function.dims.values())
        call = self._calls.get(key)
        if call is None:
            with self._lock:
                executable = self._executables[group]
                signature = signature_of(self._manifest, entry, function, step)
                call = self._calls.setdefault(key, executable.bind(signature))
        return call

    @property
    def stream(self) -> Executable:
        """The executable that holds the states."""
        return self._executables["stream"]

    def close(self) -> None:
        """Close every executable."""
        for executable in unique(list(self._executables.values())):
            executable.close()
        self._calls.clear()


def unique(executables: Sequence[Executable]) -> list[Executable]:
    """Each executable once."""
    return list({id(e): e for e in executables}.values())
