"""local-sync or local-task: small work is faster on the calling thread, large work on a pool."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ._drivers._base import Call, Executable, Signature
from ._drivers._iree_devices import survives_fork
from ._dtypes import dtype_of
from ._manifest import Entry, Function, Manifest
from ._runner import group_of, signature_of

SYNC, TASK = "local-sync", "local-task"
SMALL_FLOPS = 3e5  # below this, waking the pool (about 10 us) costs more than it can gain
LARGE_FLOPS = 3e8  # above this, measuring would take longer than a few milliseconds
_ROUNDS, _BUDGET = 3, 2e-3
_STEPS = 64  # of a call of any length
_LARGEST = 1 << 28  # bytes of arguments that are made up to measure a call


@dataclass(frozen=True)
class Placement:
    """Where the functions of a group run, and why."""

    uri: str
    reason: str


def place(
    manifest: Manifest,
    goldens: Callable[[], Mapping[str, np.ndarray]],
    load: Callable[[str], Executable],
) -> dict[str, Placement]:
    """One placement per group of entries; `load` loads the module on a queue."""
    return {
        group: _place_group(manifest, group, entries, goldens, load)
        for group, entries in _groups(manifest).items()
    }


def _groups(manifest: Manifest) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in manifest.entries:
        if entry.realization == "chunks":
            groups.setdefault("whole", []).extend(e for e in manifest.entries if e.name == "chunk")
        elif entry.name != "init":
            groups.setdefault(group_of(entry.name), []).append(entry)
    return groups


def _place_group(
    manifest: Manifest,
    group: str,
    entries: list[Entry],
    goldens: Callable[[], Mapping[str, np.ndarray]],
    load: Callable[[str], Executable],
) -> Placement:
    # A stream is judged by its smallest step, whose latency counts; other entries by their largest.
    pairs = [(entry, function) for entry in entries for function in entry.functions]
    choose = min if group == "stream" else max
    entry, function = choose(pairs, key=lambda pair: _flops(pair[1]))
    flops = _flops(function)
    if _cores() == 1:
        return Placement(SYNC, "one core")
    if not survives_fork(TASK):
        return Placement(SYNC, "the pool of threads did not survive a fork")
    if flops < SMALL_FLOPS:
        return Placement(SYNC, f"small work ({flops:.2g} flop)")
    if flops > LARGE_FLOPS:
        return Placement(TASK, f"large work ({flops:.2g} flop)")
    signature = signature_of(manifest, entry, function)
    arrays = _arguments(manifest, entry, function, signature, goldens())
    if arrays is None:
        return Placement(SYNC, "its sizes are known only at run time, or too large to try")
    times = {uri: _measure(load(uri), signature, arrays) for uri in (SYNC, TASK)}
    best = min(times, key=lambda uri: times[uri])
    listed = ", ".join(f"{uri} {seconds * 1e6:.0f} us" for uri, seconds in times.items())
    return Placement(best, f"measured {function.symbol}: {listed}")


def _flops(function: Function) -> float:
    return function.cost.get("flops", LARGE_FLOPS)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_Arrays = tuple[list[np.ndarray], list[np.ndarray]]


def _arguments(
    manifest: Manifest,
    entry: Entry,
    function: Function,
    signature: Signature,
    tensors: Mapping[str, np.ndarray],
) -> _Arrays | None:
    """Inputs and states of a golden call of this function, else zeros."""
    specs = [*signature.inputs, *signature.states_in]
    steps = _STEPS if entry.name == "chunk" else 0  # only time may be of any size there
    if not steps and any(None in spec.shape for spec in specs):
        return None
    shapes = [[steps if n is None else n for n in spec.shape] for spec in specs]
    dtypes = [dtype_of(spec.dtype) for spec in specs]
    sizes = [math.prod(n) * d.itemsize for n, d in zip(shapes, dtypes, strict=True)]
    if sum(sizes) > _LARGEST:
        return None
    arrays = [np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    for golden in manifest.goldens:
        if golden.entry == entry.name and golden.dims == function.dims:
            for i, key in enumerate(golden.inputs):
                if key in tensors and tensors[key].shape == arrays[i].shape:
                    arrays[i] = tensors[key]
    return arrays[: len(entry.inputs)], arrays[len(entry.inputs) :]


def _measure(executable: Executable, signature: Signature, arrays: _Arrays) -> float:
    """The shortest of a few calls, in seconds."""
    call: Call = executable.bind(signature)
    best, start = float("inf"), time.perf_counter()
    for round_ in range(_ROUNDS + 1):
        states = executable.to_device(arrays[1], signature.states_in)
        before = time.perf_counter()
        call(arrays[0], states)
        now = time.perf_counter()
        if round_ > 0:
            best = min(best, now - before)
            if now - start > _BUDGET:
                break
    return best
