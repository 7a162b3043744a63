"""What `time=?` costs in one call against chunks, and what an early exit saves.

The ways take turns on one thread; the table has medians of the time of a call.

    pip install -e ".[benchmarks]"
    python benchmarks/lengths.py --steps 100 --hidden 128
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt


def lengths(batch: int, hidden: int, steps: int) -> dict[str, Callable[[], object]]:
    """An LSTM over a sequence whose length was not known: in one call, and in chunks."""
    layer = ri.layers.LSTM(hidden, return_sequences=True)
    spec = ri.spec(f"batch={batch}", "time=?", hidden)
    x = np.random.default_rng(0).standard_normal((batch, steps, hidden)).astype(np.float32)
    ways = {}
    for name, chunks in (("one call", None), ("chunks of 64, 8, 1", (64, 8, 1))):
        artifact = ri.compile(layer, spec, targets=["cpu"], chunks=chunks)
        model = rt.load(artifact.to_bytes(), device="cpu:local-sync")
        ways[name] = lambda model=model: model(x)
    known = ri.spec(f"batch={batch}", f"time={steps}", hidden)
    model = rt.load(ri.compile(layer, known, targets=["cpu"]).to_bytes(), device="cpu:local-sync")
    ways[f"compiled for {steps}"] = lambda: model(x)
    return ways


def decoder(batch: int, hidden: int, steps: int) -> dict[str, Callable[[], object]]:
    """A greedy decoder whose rows end at the step that they are given."""
    rng = np.random.default_rng(1)
    weights, words = (
        (rng.standard_normal((hidden, hidden)) * 0.1).astype(np.float32) for _ in range(2)
    )

    def run(start, ends):
        def step(carry, _):
            h, token, t, done = carry
            new = jnp.tanh(h @ weights + jnp.asarray(words)[token])
            token = jnp.where(done, 0, jnp.argmax(new @ words, -1).astype(jnp.int32))
            h, t = jnp.where(done[:, None], h, new), jnp.where(done, t, t + 1)
            return (h, token, t, done | (t >= ends)), token

        zero = jnp.zeros(start.shape[0], jnp.int32)
        return lax.scan(step, (start, zero, zero, ends <= 0), None, length=steps)[1]

    artifact = ri.compile(
        run, ri.spec(f"batch={batch}", hidden), ri.spec(f"batch={batch}", dtype="int32")
    )
    model = rt.load(artifact.to_bytes(), device="cpu:local-sync")
    start = rng.standard_normal((batch, hidden)).astype(np.float32)
    return {
        f"rows end at step {end}": lambda end=end: model(start, np.full(batch, end, np.int32))
        for end in (steps // 10, steps)
    }


def medians(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median seconds of a call of each way, in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or not all(times.values()):
        for name, call in ways.items():
            before = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - before)
    return {name: statistics.median(found[1:] or found) for name, found in times.items()}


def main() -> None:
    """Print a table for each comparison; the first way is the unit of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    for make in (lengths, decoder):
        found = medians(make(options.batch, options.hidden, options.steps), options.seconds)
        unit = next(iter(found.values()))
        print((make.__doc__ or "").strip())
        for name, seconds in found.items():
            print(f"  {name:24} {seconds * 1e6:9.1f} us  {seconds / unit:6.2f}")


if __name__ == "__main__":
    main()
