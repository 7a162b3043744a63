"""Rows, systems and turns: who runs when, and whether the numbers agree."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ._process import Worker, WorkerError
from ._systems import OURS
from ._work import Work

REFERENCE = "xla"  # the first to run each row: the others must agree with it
SLOW = 0.4  # seconds: such calls need no other call before them, and one in a turn is enough
TOLERANCE = 2e-3  # of the largest number; sums of a thousand products in another order

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How long to measure: each system has a turn of about `turn` seconds in each round."""

    systems: Sequence[str]
    threads: Sequence[int] = (1, 2)
    rounds: int = 5
    turn: float = 0.1
    most_calls: int = 200
    prepare_limit: float = 120.0


@dataclass
class Bench:
    """The processes of a run, started when first needed; a context manager."""

    settings: Settings
    say: Say = print
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    _workers: dict[tuple[str, int], Worker] = field(default_factory=dict)

    def __enter__(self) -> Bench:
        self._temporary = tempfile.TemporaryDirectory(prefix="rivals-")
        self.folder = Path(self._temporary.name)
        return self

    def __exit__(self, *raised: object) -> None:
        for worker in self._workers.values():
            worker.close()
        self._temporary.cleanup()

    def row(self, work: Work) -> dict[str, Any]:
        """Build, check and time one row with all systems and numbers of threads."""
        row: dict[str, Any] = {"work": work.to_json(), "name": work.name, "goal": work.goal}
        row["build"] = build = self.build(work)
        self.say(f"{work.name}: built in {build.get('cold', 0):.1f} s")
        if "failed" in build:
            self.say(f"  {build['failed']}")
        row["threads"] = {}
        for threads in self.settings.threads:
            row["threads"][str(threads)] = self._timed(work, threads, build.get("path"))
        build.pop("path", None)
        return row

    def build(self, work: Work) -> dict[str, Any]:
        """Path and build times of our artifact, or why there is none."""
        if OURS not in self.settings.systems:
            return {}
        try:
            worker = self._worker("build", 1)
            return worker.ask("build", 600.0, work=work.to_json()) if worker else {}
        except WorkerError as error:
            self._end("build", 1)
            return {"failed": str(error)}

    def peak_memory(self, work: Work, threads: int = 1) -> dict[str, int]:
        """The largest resident size of a fresh process of each system that runs the row."""
        path, found = self.build(work).get("path"), {}
        for name in self.settings.systems:
            try:
                worker = Worker(name, threads, self.folder)
            except WorkerError:
                continue
            try:
                if "missing" not in worker.hello and self._prepare(worker, work, path, True)[0]:
                    worker.ask("time", calls=3)
                    found[name] = worker.ask("memory")["bytes"]
            except WorkerError:
                continue
            finally:
                worker.close()
        return found

    def _timed(self, work: Work, threads: int, path: str | None) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        reference: np.ndarray | None = None
        order = sorted(self.settings.systems, key=lambda name: name != REFERENCE)
        for name in order:
            cells[name], numbers = self._try(name, threads, work, path, reference)
            reference = numbers if reference is None else reference
        ready = [name for name in self.settings.systems if "variant" in cells[name]]
        seconds: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(self.settings.rounds):
            for name in list(ready):
                try:
                    seconds[name] += self._turn(name, threads, cells[name])
                except WorkerError as error:
                    self._end(name, threads)
                    ready.remove(name)
                    cells[name] = {"failed": str(error)}
        for name in ready:
            cells[name] |= _statistics(seconds[name])
        told = (f"{name} {cells[name]['median'] * 1e3:.3f} ms" for name in ready)
        self.say(f"  {threads} thread{'s' * (threads > 1)}: {', '.join(told)}")
        return cells

    def _try(
        self, name: str, threads: int, work: Work, path: str | None, reference: np.ndarray | None
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """What the system says to a row, and its numbers."""
        try:
            worker = self._worker(name, threads)
            if worker is None:
                return {"missing": self.missing[name]}, None
            answer, numbers = self._prepare(worker, work, path)
        except WorkerError as error:
            self._end(name, threads)
            return {"failed": str(error)}, None
        if numbers is None:
            return answer, None
        for variant, array in numbers.items():
            problem = disagreement(array, reference)
            if problem:
                return {"disagrees": f"{variant}: {problem}"}, None
        return answer, numbers[answer["variant"]]

    def _prepare(
        self, worker: Worker, work: Work, path: str | None, first: bool = False
    ) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
        save = str(self.folder / worker.name)
        limit = self.settings.prepare_limit
        request = {"work": work.to_json(), "artifact": path, "save": save, "first": first}
        answer = worker.ask("prepare", limit, **request)
        saved = answer.pop("saved", None)
        if saved is None:
            return answer, None
        return answer, {variant: np.load(file) for variant, file in saved.items()}

    def _turn(self, name: str, threads: int, cell: dict[str, Any]) -> list[float]:
        expected = max(cell["variants"][cell["variant"]], 1e-7)
        slow = expected > SLOW
        calls = min(max(int(self.settings.turn / expected), 2 - slow), self.settings.most_calls)
        answer = self._workers[name, threads].ask("time", calls=calls, warm=not slow)
        cell["quiet"] = bool(cell.get("quiet", True) and answer["quiet"])
        return answer["seconds"]

    def _worker(self, name: str, threads: int) -> Worker | None:
        """The process of a system, started if it is not there; `None` if it is not installed."""
        if name in self.missing:
            return None
        if (name, threads) not in self._workers:
            worker = Worker(name, threads, self.folder)
            if "missing" in worker.hello:
                self.missing[name] = worker.hello["missing"]
                worker.close()
                return None
            self.versions |= worker.hello["versions"]
            self._workers[name, threads] = worker
        return self._workers[name, threads]

    def _end(self, name: str, threads: int) -> None:
        worker = self._workers.pop((name, threads), None)
        if worker is not None:
            worker.close()


def disagreement(numbers: np.ndarray, reference: np.ndarray | None) -> str:
    """Why numbers are not those of the reference; empty if they are."""
    if reference is None:
        return "" if np.isfinite(numbers).all() else "numbers that are not finite"
    if numbers.shape != reference.shape:
        return f"shape {list(numbers.shape)} instead of {list(reference.shape)}"
    if numbers.dtype.kind in "iu":
        wrong = float((numbers != reference).mean())
        return f"{wrong:.1%} of the numbers differ" if wrong > 0.01 else ""
    error = float(np.abs(numbers - reference).max())
    allowed = TOLERANCE * max(float(np.abs(reference).max()), 1e-30)
    if np.isnan(error):
        return "not a number"
    return "" if error <= allowed else f"off by {error:.1e}, more than {allowed:.1e}"


def _statistics(seconds: list[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "median": statistics.median(ordered),
        "p90": ordered[int(0.9 * (len(ordered) - 1))],
        "least": ordered[0],
        "calls": len(ordered),
    }
