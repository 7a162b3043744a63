"""Memory and time of the gradient of `Recurrent`, a plain scan and a checkpointed scan.

    python benchmarks/recurrent_memory.py [--width 64] [--depth 20]

The cell computes ``depth`` intermediates of the size of its state. A plain scan keeps all of them
for every step; `Recurrent` keeps the states, whatever the depth. Memory is what XLA allocates
beside inputs and outputs for one gradient on this machine, time the median of five calls.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import recurrent_iree as ri

STEPS = (64, 256, 1024)


def make_losses(depth: int) -> dict[str, Callable[..., jax.Array]]:
    """The same loss by three routes."""

    def cell(theta: Any, state: Any, x: Any) -> tuple[Any, Any]:
        h = state
        for _ in range(depth):
            h = jnp.tanh(h * theta)
        return h + x, ()

    def scanned(body: Callable[..., Any]) -> Callable[..., jax.Array]:
        def loss(theta: Any, state: Any, xs: Any) -> jax.Array:
            step = body(lambda state, x: (cell(theta, state, x)[0],) * 2)
            return jax.lax.scan(step, state, xs)[1].sum()

        return loss

    return {
        "plain scan": scanned(lambda step: step),
        "scan with jax.checkpoint": scanned(jax.checkpoint),
        "Recurrent": lambda theta, state, xs: ri.Recurrent(theta, state, xs, cell)[0].sum(),
    }


def measure(loss: Callable[..., jax.Array], arguments: tuple[Any, ...]) -> tuple[int, float]:
    """Bytes of scratch memory and seconds of one gradient with respect to all arguments."""
    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes, statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=64, help="numbers in the state")
    parser.add_argument("--depth", type=int, default=20, help="intermediates of the cell")
    options = parser.parse_args()
    table = Table("route", "steps", "state × steps, kB", "scratch, kB", "ms")
    for name, loss in make_losses(options.depth).items():
        for steps in STEPS:
            width = jnp.ones(options.width)
            size, seconds = measure(loss, (width, width, jnp.ones((steps, options.width))))
            states = 4 * steps * options.width / 1000
            table.add_row(
                name, str(steps), f"{states:.0f}", f"{size / 1000:.0f}", f"{seconds * 1000:.2f}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
