"""One run of a program with limits, none of whose processes survives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL = 0.05


class Cancelled(Exception):
    """The run was stopped because another one failed; not an error of its own."""


@dataclass(frozen=True)
class Finished:
    """How a program ended: `code` is negative for a signal, `None` after the time limit."""

    code: int | None
    errors: str


def run_limited(
    command: Sequence[str],
    source: Path,
    folder: Path,
    time_limit: float,
    memory_limit: int,
    cancel: threading.Event | None = None,
) -> Finished:
    """Run a command on the file `source` as standard input, in a process group of its own.

    The group is killed at the time limit, when `cancel` is set, and on any exception, such as a
    `KeyboardInterrupt`. Temporary files of the command go to `folder`.
    """
    log = folder / "stderr"
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder)}
    with source.open("rb") as given, log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=errors,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            _limit(process.pid, memory_limit, time_limit)
            code = _wait(process, time.monotonic() + time_limit, cancel)
        finally:
            _kill_group(process)
    return Finished(code, log.read_text(errors="replace"))


def _wait(
    process: subprocess.Popen[bytes], deadline: float, cancel: threading.Event | None
) -> int | None:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL)
        if cancel is not None and cancel.is_set():
            raise Cancelled
        if time.monotonic() > deadline:
            return None


def _limit(pid: int, memory: int, seconds: float) -> None:
    """Limit memory, and processor time too, so that a run whose parent was killed ends as well."""
    if sys.platform != "linux":
        return
    import resource

    processor = int(seconds * (os.cpu_count() or 1)) + 60
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_AS, (memory, memory))
        resource.prlimit(pid, resource.RLIMIT_CPU, (processor, processor))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the group; its leader is only reaped afterwards."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
