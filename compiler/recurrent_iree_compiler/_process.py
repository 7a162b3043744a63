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
from typing import BinaryIO

_POLL = 0.003


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
    with open(source or os.devnull, "rb") as given:
        return Started(command, folder, limits, given, environment).finish(limits)


class Started:
    """A command that runs in a process group of its own, until `finish` or `close`.

    Args:
        command: the program and its arguments.
        folder: for its temporary files and what it writes.
        limits: how much memory and processor time it may use.
        given: its standard input; ``None`` is what `tell` sends.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        limits: Limits,
        given: BinaryIO | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._logs = folder / "stdout", folder / "stderr"
        variables = {**os.environ, **(environment or {}), "TMPDIR": str(folder)}
        with self._logs[0].open("wb") as output, self._logs[1].open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if given is None else given,
                stdout=output,
                stderr=errors,
                env={**variables, "TEMP": str(folder)},
                start_new_session=True,
            )
        try:
            _limit(self._process.pid, limits)
        except BaseException:
            self.close()
            raise

    def tell(self, line: bytes) -> None:
        """Send a line to its standard input, which ends with it; it may have died before."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(line + b"\n")
                self._process.stdin.close()

    def finish(self, limits: Limits) -> Finished:
        """Wait for its end, for at most the seconds of `limits`, and read what it wrote."""
        try:
            code = _wait(self._process, limits)
        finally:
            self.close()
        texts = [log.read_text(errors="replace") for log in self._logs]
        return Finished(code, *texts)

    def close(self) -> None:
        """Kill what is left of its group."""
        _kill_group(self._process)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


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
