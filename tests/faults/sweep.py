"""Runs `child.py` over all variants of a class, and starts it again after one that killed it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILE = HERE.parent / "runtime" / "data" / "tiny.riree"
BATCH = 250


@dataclass
class Outcome:
    """What came of the variants of one class."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    peak: int = 0

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, number: str, name: str, text: str) -> None:
        word, _, detail = text.partition(" ")
        self.counts[word] += 1
        if word == "refused":
            self.classes[detail] += 1
        elif word not in ("right", "same"):
            self.bad.append(f"{self.kind} variant {number} ({name}): {text}")


def sweep(kind: str, variants: int, seed: int, tell: Callable[[str], None]) -> Outcome:
    """All variants of a class, each judged in a process of its own kind."""
    outcome = Outcome(kind)
    first = 0
    while first < variants:
        last = min(first + BATCH, variants)
        first = _batch(outcome, kind, seed, first, last)
        tell(f"{kind}: {outcome.total}/{variants}, {dict(outcome.counts)}")
    return outcome


def _batch(outcome: Outcome, kind: str, seed: int, first: int, last: int) -> int:
    """Judges variants from `first`; the number of the next one."""
    numbers = map(str, (seed, first, last))
    command = [sys.executable, str(HERE / "child.py"), str(FILE), kind, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("peak "):
        outcome.peak = max(outcome.peak, int(lines.pop().split()[1]))
    for started, ended in zip(lines[::2], lines[1::2], strict=False):
        number, _, name = started.partition(" ")
        outcome.add(number, name, ended)
    if done.returncode == 0:
        return last
    assert lines, f"the child ended with {done.returncode} at once: {done.stderr[-2000:]}"
    if len(lines) % 2:
        number, _, name = lines[-1].partition(" ")
        word = "hang" if done.returncode == -14 else "crash"
        outcome.add(number, name, f"{word} status {done.returncode} {done.stderr[-300:]}")
        return int(number) + 1
    raise AssertionError(f"the child ended with {done.returncode}: {done.stderr[-2000:]}")
