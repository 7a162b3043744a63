"""Times of an artifact on several devices side by side."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._artifact import ArtifactFile
from ._cpu import host_level
from ._errors import ArgumentError, RecurrentIreeError
from ._load import load
from ._manifest import Entry, Leaf
from ._model import Model
from ._profile import DispatchTime, Profile, find_tool, profiles
from ._samples import sample_inputs
from ._text import size_text, table_text, time_text
from ._tree import unflatten


@dataclass(frozen=True)
class BenchRow:
    """One device; times in seconds, memory in bytes; `error` says why there are none.

    `per_step` is the median call divided by its steps, `stream_step` the median `Session.step`.
    """

    device: str
    target: str = ""
    reason: str = ""
    init: float | None = None
    first: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    calls: int = 0
    steps: int | None = None
    per_step: float | None = None
    stream_step: float | None = None
    peak_memory: int | None = None
    error: str = ""


@dataclass(frozen=True)
class BenchReport:
    """A benchmark of one artifact: rows by device, and what was run where."""

    name: str
    entry: str
    shapes: dict[str, list[int]]
    host: str
    rows: tuple[BenchRow, ...]
    profiles: tuple[Profile, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "BenchReport":
        """The report that `to_json` wrote."""
        rows = tuple(BenchRow(**row) for row in document["rows"])
        found = tuple(
            Profile(**{**p, "dispatches": tuple(DispatchTime(**d) for d in p["dispatches"])})
            for p in document["profiles"]
        )
        return cls(**{**document, "rows": rows, "profiles": found})

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headers and cells, for any table writer."""
        headers = ["device", "init", "first", "p50", "p90", "p99", "per step", "stream step",
                   "peak memory"]  # fmt: skip
        cells = []
        for r in self.rows:
            times = [r.init, r.first, r.p50, r.p90, r.p99, r.per_step, r.stream_step]
            memory = "-" if r.peak_memory is None else size_text(r.peak_memory)
            cells.append([r.device, *[time_text(t) for t in times], memory])
        return headers, cells

    def text(self) -> str:
        """The table, with the errors of devices that could not run under it."""
        headers, cells = self.table()
        given = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        lines = [f"{self.name}, entry {self.entry!r}, {given or 'no inputs'}, on {self.host}"]
        lines.append(table_text(headers, cells, right="|".join(headers[1:])))
        lines += [f"{r.device}: {r.error}" for r in self.rows if r.error]
        lines += [f"\n{profile.text()}" for profile in self.profiles]
        return "\n".join(lines)


def bench(
    artifact: ArtifactFile,
    devices: Sequence[str] = ("auto",),
    *,
    entry: str | None = None,
    inputs: Sequence[np.ndarray] | None = None,
    seconds: float = 2.0,
    rounds: int = 10,
    profile: bool = False,
    progress: Callable[[str], None] | None = None,
) -> BenchReport:
    """Time an entry on each device, in turns, so that a slow moment hits all of them.

    `seconds` is the time to spend per device, in `rounds` turns. A device that cannot run gets a
    row with its error. With `profile` the dispatches are timed, too, by IREE's own tools. Raises
    `ArgumentError` for an unknown entry, `MissingPackageError` if the tools are missing.
    """
    name = entry or artifact.manifest.default_entry
    found = artifact.manifest.entry(name)
    if found is None or name == "init":
        raise ArgumentError(f"{artifact.manifest.name!r} has no entry {name!r} to time")
    if profile:
        find_tool("iree-profile")
    arrays = list(inputs) if inputs is not None else sample_inputs(artifact, found)
    say = progress or (lambda text: None)
    runs = [_Run(artifact, device, found, arrays, say) for device in devices]
    for number in range(rounds):
        for run in runs:
            say(f"round {number + 1} of {rounds}: {run.device}")
            run.turn(seconds / rounds)
    rows = tuple(run.finish() for run in runs)
    pairs = zip(found.inputs, arrays, strict=False)
    shapes = {leaf.name: list(np.shape(array)) for leaf, array in pairs}
    host = f"{platform.system()} {host_level()}"
    usable = [row.device for row in rows if not row.error]
    times = profiles(artifact, usable, found, arrays, say) if profile else ()
    return BenchReport(artifact.manifest.name, name, shapes, host, rows, times)


class _Run:
    """The benchmark of one device."""

    def __init__(
        self,
        artifact: ArtifactFile,
        device: str,
        entry: Entry,
        arrays: list[np.ndarray],
        say: Callable[[str], None],
    ) -> None:
        self.device, self.entry, self.arrays = device, entry, arrays
        self.times: list[float] = []
        self.step_times: list[float] = []
        self.model: Model | None = None
        self.error = ""
        parts = unflatten(entry.input_tree, arrays)
        self.args, self.kwargs = parts["args"], parts["kwargs"]
        say(f"loading on {device}")
        _reset_peak()
        try:
            start = time.perf_counter()
            self.model = load(artifact, device)
            self.init = time.perf_counter() - start
            self.first = self._time(self._call)
            self._open_stream()
        except RecurrentIreeError as error:
            self.error = str(error)
        self.memory = _peak()

    def _call(self) -> None:
        assert self.model is not None
        self.model.run(self.entry.name, *self.args, **self.kwargs)

    def _open_stream(self) -> None:
        self.stream, self.step_args = None, None
        model = self.model
        if model is None or not model.manifest.streams:
            return
        chunk = model.manifest.entry("chunk")
        if chunk is None or [x.shape for x in chunk.inputs] != [x.shape for x in self.entry.inputs]:
            return
        if not any(f.dims.get("time") == 1 for f in chunk.functions):
            return
        batch = [dict(zip(x.shape, a.shape, strict=True)).get("batch")
                 for x, a in zip(chunk.inputs, self.arrays, strict=True)]  # fmt: skip
        self.stream = model.session(batch=next((b for b in batch if b is not None), None))
        firsts = [_first_step(a, x) for a, x in zip(self.arrays, chunk.inputs, strict=True)]
        self.step_args = unflatten(chunk.input_tree, firsts)

    def turn(self, seconds: float) -> None:
        """Calls, then steps, for about this long; at least one of each."""
        if self.error:
            return
        try:
            self._repeat(self._call, self.times, seconds / 2)
            if self.stream is not None:
                self._repeat(self._step, self.step_times, seconds / 2)
        except RecurrentIreeError as error:
            self.error = str(error)

    def _step(self) -> None:
        assert self.stream is not None and self.step_args is not None
        self.stream.step(*self.step_args["args"], **self.step_args["kwargs"])

    @staticmethod
    def _time(call: Callable[[], None]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def _repeat(self, call: Callable[[], None], times: list[float], seconds: float) -> None:
        end = time.perf_counter() + seconds
        while True:
            times.append(self._time(call))
            if time.perf_counter() >= end:
                return

    def finish(self) -> BenchRow:
        """The row of this device."""
        if self.model is None or self.error:
            return BenchRow(self.device, error=self.error)
        p50, p90, p99 = (float(p) for p in np.percentile(self.times, [50, 90, 99]))
        steps = _steps(self.entry, self.arrays)
        step = float(np.median(self.step_times)) if self.step_times else None
        info = self.model.device
        target = info.reason.rpartition("module ")[2].partition(";")[0].strip("'")
        self.model.close()
        return BenchRow(
            self.device, target, info.reason, self.init, self.first, p50, p90, p99,
            len(self.times), steps, p50 / steps if steps else None, step, self.memory,
        )  # fmt: skip


def _steps(entry: Entry, arrays: Sequence[np.ndarray]) -> int | None:
    for leaf, array in zip(entry.inputs, arrays, strict=False):
        if "time" in leaf.shape:
            return int(array.shape[leaf.shape.index("time")])
    return None


def _first_step(array: np.ndarray, leaf: Leaf) -> np.ndarray:
    if "time" not in leaf.shape:
        return array
    return np.ascontiguousarray(array.take(0, axis=leaf.shape.index("time")))


def _reset_peak() -> None:
    """Start a new high-water mark of resident memory, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int | None:
    """The process's peak resident memory in bytes since `_reset_peak`; `None` if unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None
