"""The limits of this machine, measured: arithmetic, and bandwidth by the size of what is read.

Arithmetic is the peak of multiply-adds in registers (`_peak.py`). Reading is the rate of dot
products of two arrays that fill the working set together, less the time of a call with
arrays of one number; copying is `numpy.copyto`, its reads and writes counted. The best of several
repetitions is kept, as a limit should be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._machine import describe
from ._work import Work

SIZES = tuple(1 << k for k in range(15, 27))
_SPAN, _REPEATS = 0.04, 3


def measure(threads: int) -> dict[str, Any]:
    """Limits of so many cores, by a process of its own with a one-threaded BLAS."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if "avx512f" in describe()["vectors"]:  # OpenBLAS takes processors that it does not know for
        environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX")  # old ones, without AVX-512
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}._limits", str(threads)],
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def higher(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The higher of two measurements of each limit: what was slower once was disturbed."""
    return {
        name: {size: max(value[size], second[name][size]) for size in value}
        if isinstance(value, dict)
        else max(value, second[name])
        for name, value in first.items()
    }


def seconds_at_limit(work: Work, limits: dict[str, Any]) -> float:
    """The shortest time that arithmetic and the reading of weights allow for a row.

    The weights of a step are read from where they fit; with several cores each reads its part.
    """
    from ._cells import flops_of, step_bytes_of

    outside, inside = flops_of(work)
    size = step_bytes_of(work)
    times = 3.0 if work.kind == "gradients" else 1.0  # forward, and two products backwards
    reading = size / _reading(limits, size / limits["threads"]) if size else 0.0
    step = max(inside / limits["flops"], reading)
    return times * (outside / limits["flops"] + work.steps * step)


def _reading(limits: dict[str, Any], size: float) -> float:
    """Bytes per second where so many bytes per core are read again and again.

    What a larger working set reaches, a smaller one could: a rate below that was disturbed.
    """
    known = {int(k): v for k, v in limits["read"].items()}
    fitting = [k for k in known if k >= size] or [max(known)]
    return max(known[k] for k in fitting)


def _rate(make: Callable[[], tuple[Callable[[], Any], float]], threads: int) -> float:
    """Units per second of all threads together, where a call does so many units."""
    best = 0.0
    for _ in range(_REPEATS):
        rates: list[float] = []
        barrier = threading.Barrier(threads)

        def work(rates: list[float] = rates, barrier: threading.Barrier = barrier) -> None:
            call, units = make()
            call()
            barrier.wait()
            calls, start = 0, time.perf_counter()
            while time.perf_counter() - start < _SPAN:
                call()
                calls += 1
            rates.append(calls * units / (time.perf_counter() - start))

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, sum(rates))
    return best


def _main() -> None:
    import numpy as np

    from ._peak import multiply_adds

    threads = int(sys.argv[1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])

    def dots(size: int) -> tuple[Callable[[], Any], float]:
        a, b = np.ones(size // 8, np.float32), np.ones(size // 8, np.float32)
        repeat = max(1, (1 << 20) // size)

        def call() -> None:
            for _ in range(repeat):
                a.dot(b)

        return call, float(repeat)

    def copies(size: int) -> tuple[Callable[[], Any], float]:
        a, b = np.ones(size // 8, np.float32), np.ones(size // 8, np.float32)
        return (lambda: np.copyto(b, a)), float(size)

    empty = threads / _rate(lambda: dots(8), threads)
    read = {}
    for size in SIZES:
        seconds = threads / _rate(lambda size=size: dots(size), threads) - empty
        read[size] = threads * size / max(seconds, 1e-9)
    copy = {size: _rate(lambda size=size: copies(size), threads) for size in SIZES}
    flops = _rate(multiply_adds, threads)
    print(json.dumps({"threads": threads, "flops": flops, "read": read, "copy": copy}))


if __name__ == "__main__":
    _main()
