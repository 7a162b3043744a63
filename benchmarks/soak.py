"""Long runs of the runtime: steps, loads and sessions, while its memory is watched.

`python benchmarks/soak.py [--steps N] [--loads N] [--sessions N] [--minutes M] [--device NAME]`

Each part warms up first; afterwards resident memory may grow by less than 1 MiB. The exit status is
1 if it grows more, if an answer is wrong, or if the time is over first.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import recurrent_iree_runtime as rt

FILE = Path(__file__).resolve().parents[1] / "tests" / "runtime" / "data" / "tiny.riree"
LIMIT = 1 << 20
WARM_UP = 0.1
Rounds = Generator[bool, None, None]
SAMPLES = 20


@dataclass
class Row:
    """One part of the run: what grew, and whether it became slower."""

    what: str
    device: str
    done: int
    seconds: float
    wrong: int
    before: int
    after: int
    first: float
    last: float

    @property
    def growth(self) -> int:
        return self.after - self.before


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def steps(path: Path, device: str, x: np.ndarray) -> Rounds:
    """One stream, step after step; the state is compared with that of whole chunks."""
    frames = [np.ascontiguousarray(x[:, t]) for t in range(x.shape[1])]
    with rt.load(path, device) as model, model.session(batch=1) as stream:
        answers = [stream.step(frame) for frame in frames]
        while True:
            stream.reset()
            for frame, answer in zip(frames, answers, strict=True):
                yield np.array_equal(stream.step(frame), answer)


def loads(path: Path, device: str, x: np.ndarray) -> Rounds:
    """The file is loaded, used and closed."""
    with rt.load(path, device) as model:
        answer = model(x)
    while True:
        with rt.load(path, device) as model:
            good = np.array_equal(model(x), answer)
        yield good


def sessions(path: Path, device: str, x: np.ndarray) -> Rounds:
    """A session is opened, used, copied, kept as a snapshot, restored and closed."""
    with rt.load(path, device) as model:
        answer = model(x)
        while True:
            with model.session(batch=1) as stream:
                stream.step(np.ascontiguousarray(x[:, 0]))
                with model.restore(stream.snapshot()) as other, stream.clone() as third:
                    outputs = other.run(x[:, 1:]), third.run(x[:, 1:])
            yield all(np.allclose(y, answer[:, 1:], rtol=1e-5, atol=1e-6) for y in outputs)


def part(what: str, device: str, count: int, work: Rounds, over: Callable[[], bool]) -> Row:
    """Runs `count` rounds and samples memory on the way."""
    wrong, done, start = 0, 0, time.perf_counter()
    marks = [max(1, round(count * (WARM_UP + (1 - WARM_UP) * i / SAMPLES))) for i in range(21)]
    memory, times, last = [], [], start
    for mark in marks:
        begin, now = done, time.perf_counter()
        while done < mark and not (done % 256 == 0 and over()):
            wrong += not next(work)
            done += 1
        if done > begin:
            times.append((time.perf_counter() - now) / (done - begin))
        gc.collect()
        memory.append(resident())
        if time.perf_counter() - last > 5 or mark == count:
            last = time.perf_counter()
            grown = (memory[-1] - memory[0]) / 1024
            line = f"{what} on {device}: {done:,}/{count:,}, {wrong} wrong, {last - start:.0f} s"
            print(f"{line}, {memory[-1] >> 20} MiB, {grown:+.0f} KiB", file=sys.stderr, flush=True)
    work.close()
    middle = len(times) // 2
    first = float(np.median(times[1:middle] or times))
    second = float(np.median(times[middle:] or times))
    return Row(what, device, done, time.perf_counter() - start, wrong, memory[0], memory[-1],
               first, second)  # fmt: skip


def table(rows: list[Row]) -> list[str]:
    """The figures as lines of text."""
    head = ["what", "device", "done", "seconds", "wrong", "MiB after warm-up", "growth KiB",
            "us each, first half", "second half"]  # fmt: skip
    cells = [head]
    for r in rows:
        cells.append([r.what, r.device, f"{r.done:,}", f"{r.seconds:.0f}", str(r.wrong),
                      f"{r.before / 2**20:.1f}", f"{r.growth / 1024:+.0f}",
                      f"{r.first * 1e6:.1f}", f"{r.last * 1e6:.1f}"])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.rjust(w) if i > 1 else c.ljust(w) for i, (c, w) in enumerate(
        zip(line, widths, strict=True))) for line in cells]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--loads", type=int, default=1_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=19.0)
    parser.add_argument("--device", action="append", help="may be repeated; default: both CPU ways")
    options = parser.parse_args()
    x = np.random.default_rng(5).standard_normal((1, 100, 3)).astype(np.float32)
    deadline = time.monotonic() + 60 * options.minutes
    rows, planned = [], 0
    for device in options.device or ["cpu:local-sync", "cpu:local-task"]:
        parts = [("steps", options.steps, steps), ("load, run, close", options.loads, loads),
                 ("sessions", options.sessions, sessions)]  # fmt: skip
        for what, count, work in parts:
            planned += count
            over = lambda: time.monotonic() > deadline  # noqa: E731
            rows.append(part(what, device, count, work(FILE, device, x), over))
    print("\n".join(table(rows)))
    problems = [f"{r.what} on {r.device}: {r.wrong} wrong answers" for r in rows if r.wrong]
    problems += [f"{r.what} on {r.device}: memory grew by {r.growth:,} bytes, and {LIMIT:,} is the "
                 "limit" for r in rows if r.growth >= LIMIT]  # fmt: skip
    if sum(r.done for r in rows) < planned:
        problems.append(f"the time of {options.minutes:g} minutes was over first")
    print("\n".join(problems) or f"no wrong answer; memory grew by less than {LIMIT >> 10} KiB")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
