"""The rows as JAX programs: what XLA compiles, and what we compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._cells import CELLS, WORDS
from ._work import Work


class JaxOps:
    """The functions that cells use, in JAX."""

    sigmoid = staticmethod(jax.nn.sigmoid)
    tanh = staticmethod(jnp.tanh)
    rsqrt = staticmethod(lax.rsqrt)
    einsum = staticmethod(jnp.einsum)
    softmax = staticmethod(jax.nn.softmax)

    @staticmethod
    def split(x: Any, count: int) -> list[Any]:
        return jnp.split(x, count, axis=-1)

    @staticmethod
    def join(parts: list[Any]) -> Any:
        return jnp.concatenate(parts, axis=-1)

    @staticmethod
    def mean(x: Any) -> Any:
        return x.mean(-1, keepdims=True)

    @staticmethod
    def take(table: Any, index: Any) -> Any:
        return table[index]

    @staticmethod
    def argmax(x: Any) -> Any:
        return jnp.argmax(x, -1).astype(jnp.int32)


def program(work: Work, hoisted: bool = False) -> Callable[..., Any]:
    """``f(weights, x[, memory])`` of the row; `hoisted` projects all inputs before the loop."""
    if work.cell == "decoder":
        return _decoder(work)
    cell = CELLS[work.cell]

    def run(weights: Any, x: Any, memory: Any = None) -> Any:
        def body(states: Any, item: Any) -> Any:
            z = item if hoisted else cell.project(JaxOps, weights, item)
            return cell.step(JaxOps, weights, states, z, memory)

        states = [jnp.zeros((x.shape[0], work.width), x.dtype)] * cell.states
        xs = jnp.swapaxes(x, 0, 1)
        xs = cell.project(JaxOps, weights, xs) if hoisted else xs
        return jnp.swapaxes(lax.scan(body, states, xs)[1], 0, 1)

    return run


def step_program(work: Work) -> Callable[..., Any]:
    """``f(weights, states, x) -> (states, output)`` of one step."""
    cell = CELLS[work.cell]

    def run(weights: Any, states: Any, x: Any) -> Any:
        return cell.step(JaxOps, weights, states, cell.project(JaxOps, weights, x), None)

    return run


def loss(work: Work, hoisted: bool = False) -> Callable[..., Any]:
    """``f(weights, x)``: the mean square of the output."""
    forward = program(work, hoisted)
    return lambda weights, x: (forward(weights, x) ** 2).mean()


def gradients(work: Work, hoisted: bool = False) -> Callable[..., Any]:
    """``f(weights, x)``: the gradients of `loss` for the weights, and for the inputs."""
    backward = jax.grad(loss(work, hoisted), (0, 1))

    def run(weights: Any, x: Any) -> Any:
        by_weight, by_input = backward(weights, x)
        return {**by_weight, "inputs": by_input}

    return run


def _decoder(work: Work) -> Callable[..., Any]:
    """Greedy decoding by `raw_rnn`: a row ends at word 0, and the loop when all rows have."""
    import recurrent_iree as ri

    def run(weights: Any, state: Any) -> Any:
        class Cell:
            state_size = work.width
            output_size = WORDS

            def __call__(self, x: Any, h: Any) -> Any:
                h = jnp.tanh(x + h @ weights["recurrent"])
                return h @ weights["logits"], h

        def loop(time: Any, output: Any, h: Any, words: Any) -> Any:
            if output is None:
                word = jnp.ones((work.batch,), jnp.int32)
                emit = jnp.zeros((), jnp.int32)
                h, finished = state, jnp.zeros((work.batch,), bool)
            else:
                word = emit = JaxOps.argmax(output)
                finished = word == 0
            return finished | (time >= work.steps), weights["words"][word], h, emit, words

        emitted, _, _ = ri.raw_rnn(Cell(), loop, max_steps=work.steps)
        return emitted.stack().T

    return run
