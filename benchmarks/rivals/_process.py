"""The other end of a worker: starts it, asks, waits, and survives its death."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """A worker died, or did not answer in time; the message says which and what it printed."""


class Worker:
    """A process with one system; `ask` sends a request and waits for the answer."""

    def __init__(self, name: str, threads: int, folder: Path, module: str = "") -> None:
        self.name, self.threads = name, threads
        self._log = tempfile.TemporaryFile("w+", dir=folder)
        self._rest = b""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        command = [sys.executable, "-m", module or f"{__package__}._worker", name, str(threads)]
        self._process = subprocess.Popen(
            [*command, str(folder)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self.hello = self._answer(120.0)
        except WorkerError:
            self.close()
            raise

    def ask(self, do: str, limit: float = 120.0, **request: Any) -> dict[str, Any]:
        """The answer to one request; raises `WorkerError` after `limit` seconds."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(self._last_words()) from error
        return self._answer(limit)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answer(self, limit: float) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise WorkerError(f"{self.name} did not answer in {limit:.0f} s")
                part = os.read(stdout.fileno(), 1 << 16)
                if not part:
                    raise WorkerError(self._last_words())
                self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        return f"{self.name} died: {lines[-1] if lines else 'it printed nothing'}"[:300]
