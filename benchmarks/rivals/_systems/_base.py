"""What a system gives: versions, and for each row the ways to run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.rivals._work import Work

CHECKED_STEPS = 5


class NotSupportedError(Exception):
    """This system has no way to run the row; the message says why."""


@dataclass(frozen=True)
class Variant:
    """One way to run a row: `run` is timed, `check` gives the numbers to compare."""

    run: Callable[[], Any]
    check: Callable[[], np.ndarray]


class System(ABC):
    """A library with a number of threads, in a process of its own."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the libraries in use."""

    @abstractmethod
    def variants(self, work: Work, artifact: str | None) -> dict[str, Variant]:
        """The settings worth trying for a row; the fastest is kept.

        Raises:
            NotSupportedError: the system cannot run it.
        """


def streamed(steps: list[Any]) -> np.ndarray:
    """The outputs of consecutive steps as one array ``[batch, steps, width]``."""
    return np.stack([np.asarray(step).reshape(-1, step.shape[-1]) for step in steps], axis=1)


def flat(gradients: dict[str, Any]) -> np.ndarray:
    """All gradients in one array, by name."""
    return np.concatenate([np.asarray(gradients[name]).reshape(-1) for name in sorted(gradients)])
