"""A process that measures: reads requests on its standard input, one line of JSON each.

    prepare  work, artifact, save   run the variants, save the numbers of each, keep the fastest
             first                  … but only the first variant
    time     calls, warm            seconds of each call of the kept variant, after one if `warm`
    memory                          the largest resident size so far, in bytes
    build    work                   (the builder) compile the row

Everything that a library prints goes to standard error; answers alone go to standard output.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

_SLOW = 1.0  # seconds: such a call tells enough
_QUIET = 0.1  # of one core: what a process may use while others are measured


class _Measuring:
    def __init__(self, name: str, threads: int) -> None:
        from ._systems import open_system

        self.system = open_system(name, threads)
        self.run: Any = None

    def hello(self) -> dict[str, Any]:
        return {"versions": self.system.versions()}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from ._systems._base import NotSupportedError
        from ._work import Work

        self.run = None
        gc.collect()
        try:
            found = self.system.variants(Work(**request["work"]), request.get("artifact"))
        except NotSupportedError as error:
            return {"not_supported": str(error)}
        if request.get("first"):
            found = dict(list(found.items())[:1])
        saved = {}
        for i, (name, variant) in enumerate(found.items()):
            saved[name] = f"{request['save']}.{i}.npy"
            np.save(saved[name], variant.check())
        seconds = {name: _shortest(variant.run) for name, variant in found.items()}
        best = min(seconds, key=lambda name: seconds[name])
        self.run = found[best].run
        return {"variant": best, "variants": seconds, "saved": saved}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        run, clock, seconds = self.run, time.perf_counter, []
        if request.get("warm", True):
            run()
        for _ in range(request["calls"]):
            start = clock()
            run()
            seconds.append(clock() - start)
        return {"seconds": seconds}

    def memory(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


class _Building:
    def __init__(self, folder: str) -> None:
        from ._build import Builder

        self.builder = Builder(Path(folder))

    def hello(self) -> dict[str, Any]:
        return {"versions": {}}

    def build(self, request: dict[str, Any]) -> dict[str, Any]:
        from recurrent_iree_runtime import RecurrentIreeError

        from ._work import Work

        try:
            return self.builder.build(Work(**request["work"]))
        except RecurrentIreeError as error:
            return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}


def _shortest(run: Any) -> float:
    """The shortest of a few calls: enough to choose between variants; one call if it is slow."""
    start = time.perf_counter()
    run()
    best = time.perf_counter() - start
    if best > _SLOW:
        return best
    start = time.perf_counter()
    for _ in range(50):
        before = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - before)
        if now - start > 0.3:
            break
    return best


def _settle() -> bool:
    """Wait until the threads of this process sleep; whether they did within a second."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.02)
        if time.process_time() - before < _QUIET * 0.02:
            return True
    return False


def main() -> None:
    """Serve requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if name != "build":
        # Before any library counts the processors: one thread means one core for all it does.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    try:
        served: Any = _Building(folder) if name == "build" else _Measuring(name, threads)
        answer = served.hello()
    except ImportError as error:
        served, answer = None, {"missing": str(error)}
    print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin if served else ():
        request = json.loads(line)
        answer = getattr(served, request["do"])(request)
        answer["quiet"] = _settle()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
