"""Threads on one model: `python threads_child.py CASE FILE DEVICE COUNT`; prints what happened.

Every answer is compared with that of one thread alone. A crash is the end of the process, which
whoever started it sees.
"""

import faulthandler
import gc
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import recurrent_iree_runtime as rt  # noqa: E402

THREADS, SESSIONS, PERIOD = 8, 8, 50
X = np.random.default_rng(3).standard_normal((THREADS * SESSIONS, 1, PERIOD, 3))
X = X.astype(np.float32)


def together(work: Any, count: int = THREADS) -> list[Any]:
    """Runs `work(number)` in threads; the results, or the exceptions."""
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def frames(session: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(X[session, :, t]) for t in range(PERIOD)]


def expected(model: rt.Model, session: int) -> list[np.ndarray]:
    with model.session(batch=1) as stream:
        return [stream.step(frame) for frame in frames(session)]


def sessions(model: rt.Model, steps: int) -> None:
    """8 threads with 8 sessions each, every step compared."""
    answers = [expected(model, i) for i in range(THREADS * SESSIONS)]

    def work(thread: int) -> int:
        numbers = range(thread * SESSIONS, (thread + 1) * SESSIONS)
        streams = [model.session(batch=1) for _ in numbers]
        inputs = [frames(number) for number in numbers]
        wrong = 0
        for step in range(steps):
            t = step % PERIOD
            for stream, given, number in zip(streams, inputs, numbers, strict=True):
                if t == 0:
                    stream.reset()
                wrong += not np.array_equal(stream.step(given[t]), answers[number][t])
        return wrong

    print(f"{THREADS * SESSIONS * steps} steps, wrong {together(work)}")


def one_session(model: rt.Model, calls: int) -> None:
    """8 threads that misuse one session: each call is right for some order, or refused."""
    stream, seen = model.session(batch=1), Counter()
    frame = frames(0)[0]

    def work(thread: int) -> None:
        for _ in range(calls):
            try:
                stream.step(frame)
                seen["answered"] += 1
            except rt.StateError as error:
                assert "used by another thread" in str(error)
                seen["refused"] += 1

    failed = [r for r in together(work) if r is not None]
    steps = int(stream.states["n"])
    print(f"lost {seen['answered'] - steps}, failed {failed}")


def close_during_calls(path: str, device: str, times: int) -> None:
    """The model is closed while threads call it and step its sessions."""
    long = np.tile(X[0], (1, 20, 1))
    bad: list[BaseException] = []
    for _ in range(times):
        model = rt.load(path, device)
        right = model(long)

        def work(thread: int, model: rt.Model = model, right: np.ndarray = right) -> None:
            try:
                stream = model.session(batch=1)
                while True:
                    if thread % 2:
                        assert np.array_equal(model(long), right)
                    else:
                        stream.run(long)
            except rt.StateError as error:
                assert "closed" in str(error), error

        closer = threading.Timer(0.01, model.close)
        closer.start()
        bad += [r for r in together(work, 4) if r is not None]
        closer.join()
        del model
        gc.collect()
    print(f"failed {bad}")


def forks(model: rt.Model, path: str, times: int) -> None:
    """Forks while threads are inside calls; the child loads anew, the parent goes on."""
    answers, stop, wrong = expected(model, 0), threading.Event(), []

    def work(thread: int) -> None:
        stream, given = model.session(batch=1), frames(0)
        while not stop.is_set():
            stream.reset()
            wrong.extend(t for t in range(PERIOD)
                         if not np.array_equal(stream.step(given[t]), answers[t]))  # fmt: skip

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    codes: Counter[int] = Counter()
    held = model.session(batch=1)
    for _ in range(times):
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(20, exit=True)
            os._exit(_in_child(model, held, path, answers))
        codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    stop.set()
    for thread in threads:
        thread.join()
    print(f"codes {dict(codes)}, wrong {len(wrong)}")


def _in_child(model: rt.Model, held: rt.Session, path: str, answers: list[np.ndarray]) -> int:
    for use in (lambda: model(X[0]), lambda: held.step(frames(0)[0]),
                lambda: model.session(batch=1)):  # fmt: skip
        try:
            use()
            return 3
        except rt.StateError as error:
            if "forked" not in str(error):
                return 4
    with rt.load(path, "cpu:local-sync") as again:
        return 0 if np.array_equal(expected(again, 0), answers) else 5


def exit_while_running(model: rt.Model) -> None:
    """The main thread ends while others are inside calls."""

    def work() -> None:
        stream = model.session(batch=1)
        try:
            while True:
                stream.run(X[0])
        except rt.StateError:
            pass

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.05)
    print("ends", flush=True)


def main() -> None:
    case, path, device, count = sys.argv[1:]
    sys.setswitchinterval(1e-4)
    if case == "close":
        close_during_calls(path, device, int(count))
        return
    model = rt.load(path, device)
    if case == "sessions":
        sessions(model, int(count))
    elif case == "one":
        one_session(model, int(count))
    elif case == "fork":
        forks(model, path, int(count))
    else:
        exit_while_running(model)


if __name__ == "__main__":
    main()
