"""What a caller may choose about how compilation runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recurrent_iree_runtime import ArgumentError

from ._plan import PlanOptions

Stage = Literal["plan", "compile", "cached", "verify", "verified", "not verified", "done"]


@dataclass(frozen=True)
class BuildOptions:
    """How `build` plans, runs the compiler and verifies.

    Attributes:
        time_limit: seconds for one run of the compiler.
        memory_limit: bytes of address space for one run of the compiler (Linux only).
        cache: whether compiled modules are taken from and put into the cache.
        cache_dir: where the cache lives; ``None`` is the user's cache directory.
        cache_size: bytes above which the least recently used entries are removed.
        jobs: how many compilers run at once; ``None`` is the number of processors, at most 4.
        verify: whether modules that can run on this machine are run and compared.
        plan: how recurrences are planned; see `PlanOptions`.
        compiler: path of another ``iree-compile``; ``None`` is that of the installed wheel.

    Raises:
        ArgumentError: a limit or a count is not positive.
    """

    time_limit: float = 600.0
    memory_limit: int = 16 << 30
    cache: bool = True
    cache_dir: str | os.PathLike[str] | None = None
    cache_size: int = 2 << 30
    jobs: int | None = None
    verify: bool = True
    plan: PlanOptions = field(default_factory=PlanOptions)
    compiler: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name in ("time_limit", "memory_limit", "cache_size", "jobs"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ArgumentError(f"BuildOptions: {name} is {value}; it must be positive")

    @property
    def folder(self) -> Path:
        """The cache directory in use."""
        if self.cache_dir is not None:
            return Path(self.cache_dir)
        import platformdirs

        return Path(platformdirs.user_cache_dir("recurrent-iree"))

    @property
    def workers(self) -> int:
        """The number of compilers that run at once."""
        return self.jobs or min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Event:
    """One step of a build, as told to the `progress` callback.

    Attributes:
        target: the target as the caller spelled it.
        stage: what begins or has just ended.
        detail: more about it, or an empty string.
        done, total: how many targets are finished, and how many there are.
    """

    target: str
    stage: Stage
    detail: str = ""
    done: int = 0
    total: int = 0


Progress = Callable[[Event], None]
