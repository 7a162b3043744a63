"""One run of a program with limits, none of whose processes survives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL = 0.01


class Cancelled(Exception):
    """The run was stopped because another one failed; not an error of its own."""


@dataclass(frozen=True)
class Limits:
    """What a run may use, and what ends it early.

    Attributes:
        seconds: time limit.
        memory: bytes of address space (Linux only); ``None`` for no limit.
        cancel: ends the run when it is set.
    """

    seconds: float
    memory: int | None = None
    cancel: threading.Event | None = None


@dataclass(frozen=True)
class Finished:
    """How a program ended: `code` is negative for a signal, `None` after the time limit."""

    code: int | None
    output: str
    errors: str


def run_limited(
    command: Sequence[str],
    folder: Path,
    limits: Limits,
    *,
    source: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a command in a process group of its own, with the file `source` as standard input.

    The group is killed at the time limit, when it is cancelled, and on any exception, such as a
    `KeyboardInterrupt`. Its temporary files go to `folder`.
    """
    logs = folder / "stdout", folder / "stderr"
    variables = {**os.environ, **(environment or {}), "TMPDIR": str(folder), "TEMP": str(folder)}
    with (
        open(source or os.devnull, "rb") as given,
        logs[0].open("wb") as output,
        logs[1].open("wb") as errors,
    ):
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=output,
            stderr=errors,
            env=variables,
            start_new_session=True,
        )
        try:
            _limit(process.pid, limits)
            code = _wait(process, limits)
        finally:
            _kill_group(process)
    texts = [log.read_text(errors="replace") for log in logs]
    return Finished(code, *texts)


def _wait(process: subprocess.Popen[bytes], limits: Limits) -> int | None:
    deadline = time.monotonic() + limits.seconds
    while not _ended(process):
        if limits.cancel is not None and limits.cancel.is_set():
            raise Cancelled
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL)
    _kill_group(process)
    return process.returncode


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended. It is not reaped yet, so that its group still has a number of its own."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is not None


def _limit(pid: int, limits: Limits) -> None:
    """Limit memory, and processor time too, so that a run whose parent was killed ends as well."""
    if sys.platform != "linux":
        return
    import resource

    processor = int(limits.seconds * (os.cpu_count() or 1)) + 60
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_CPU, (processor, processor))
        if limits.memory is not None:
            resource.prlimit(pid, resource.RLIMIT_AS, (limits.memory, limits.memory))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the group, once; its leader is only reaped afterwards."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
