"""Shared steps while others burn all cores: right numbers, no hang, and every call ends soon.

``pytest -m slow tests/compiler/fused/test_sharing_under_load.py``, part of ``make sweep``.
"""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from compiler.fused import cells, running
from compiler.fused.test_sharing import CHILD, FOUR, blinking, kernels, together

pytestmark = pytest.mark.slow

CALLS = 40
# Each of some 500 meetings of a call may wait for a slice of the scheduler, which is milliseconds.
LONGEST, WHOLE = 5.0, 300

BURN = """
import sys, threading
import numpy as np
def burn():
    x = np.random.default_rng(0).random(1 << 16)
    while True:
        np.sort(x)
for _ in range(int(sys.argv[1])):
    threading.Thread(target=burn, daemon=True).start()
print("burning", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", params=[2, 4], ids=lambda parts: f"{parts} parts")
def shared(request, tmp_path_factory):
    """Files of a module whose steps are shared, and of its arguments and results."""
    folder = tmp_path_factory.mktemp("load")
    chosen = [(cells.lstm, 1, 96, 0), (cells.layer_norm_lstm, 1, 48, 0), (blinking, 1, 256, 0)]
    function, arguments = together(chosen)
    alone = running.compiled(running.fuse(function, arguments, FOUR, 1)[0])(*arguments)
    named: dict[str, Any] = {f"a{n}": a for n, a in enumerate(arguments)}
    named |= {f"r{n}": r for n, r in enumerate(alone)}
    np.savez(folder / "arrays.npz", **named)
    module, made = kernels(function, arguments, request.param)
    assert all(k.sharing.parts > 1 for k in made)
    (folder / "module.vmfb").write_bytes(running.vmfb(module))
    return [str(folder / "module.vmfb"), str(folder / "arrays.npz")]


@contextmanager
def burning(processes, threads):
    """That many other processes, each with threads that never wait."""
    with ExitStack() as stack:
        for _ in range(processes):
            child = subprocess.Popen(
                [sys.executable, "-c", BURN, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            assert child.stdout is not None
            assert child.stdout.readline() == b"burning\n"
        yield


@pytest.mark.parametrize(
    ("processes", "threads", "workers", "callers", "nice"),
    [
        pytest.param(1, 1, 2, 1, 0, id="one core is busy"),
        pytest.param(2, 2, 2, 1, 0, id="all cores are busy twice"),
        pytest.param(2, 2, 4, 4, 0, id="more workers and callers than cores"),
        pytest.param(2, 2, 2, 1, 10, id="everybody else goes first"),
    ],
)
def test_load_makes_calls_slower_but_not_wrong(shared, processes, threads, workers, callers, nice):
    per_core = threads * max(1, (os.cpu_count() or 2) // 2)
    command = [sys.executable, str(CHILD), *shared, str(workers), str(callers), str(CALLS)]
    with burning(processes, per_core):
        done = subprocess.run(
            ["nice", f"-n{nice}", *command], capture_output=True, text=True, timeout=WHOLE
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"
    longest = float(done.stderr.split()[-1])
    print(f"longest call {longest:.3f} s")
    assert longest < LONGEST
