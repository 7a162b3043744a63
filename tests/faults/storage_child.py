"""A process that writes until it is killed.

`python storage_child.py artifact|cache|snapshot FOLDER` prints a dot for each write, so
that whoever kills it knows that it is at work.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.sweep import FILE  # noqa: E402

import recurrent_iree_runtime as rt  # noqa: E402
from runtime import tiny  # noqa: E402

KEY = "ab" + "0" * 62
PAYLOADS = (bytes(3_000_000), b"\1" * 2_000_000)
"""Two contents of one cache entry: large, so that a kill often hits the middle of a write."""


def contents() -> list[dict[str, bytes]]:
    """Two artifacts that are written to one path in turns."""
    return [tiny.members(metadata={"turn": str(i) * size}) for i, size in ((0, 99_999), (1, 9))]


@contextlib.contextmanager
def streams(model: rt.Model) -> Iterator[tuple[rt.Session, rt.Session]]:
    """Two streams of the tiny program, one at its start and one after five steps."""
    with model.session(batch=1) as old, model.session(batch=1) as new:
        new.run(np.ones((1, 5, 3), np.float32))
        yield old, new


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind == "artifact":
        for members in itertools.cycle(contents()):
            rt.write_container(folder / "m.riree", members)
            print(".", end="", flush=True)
    if kind == "snapshot":
        with rt.load(FILE, "cpu:local-sync") as model, streams(model) as pair:
            for stream in itertools.cycle(pair):
                stream.snapshot(folder / "s")
                print(".", end="", flush=True)
    from recurrent_iree_compiler._cache import Cache

    cache = Cache(folder, 1 << 30)
    for payload in itertools.cycle(PAYLOADS):
        with cache.lock(KEY):
            cache.put(KEY, payload)
        print(".", end="", flush=True)


if __name__ == "__main__":
    main()
