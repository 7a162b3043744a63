"""The cells of the raw_rnn cases."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from conformance.cases import Case, config


class Cell:
    """A duck-typed cell: a function with sizes."""

    def __init__(self, function: Callable[..., Any], state_size: Any, output_size: Any):
        self.function, self.state_size, self.output_size = function, state_size, output_size

    def __call__(self, x: Any, state: Any) -> tuple[Any, Any]:
        return self.function(x, state)


def make_cell(case: Case, params: dict[str, jax.Array]) -> Any:
    """The cell that the case names; a string stands for what is not a cell."""
    if case.cell == "not_a_cell":
        config(case, optional=("params",))
        return "not a cell"
    assert case.cell in CELLS, f"unknown cell {case.cell}"
    make, keys = CELLS[case.cell]
    settings = {k: v for k, v in config(case, "params", *keys).items() if k != "params"}
    return make(params, **settings)


def _basic_rnn(p, *, units):
    def call(x, h):
        h = jnp.tanh(jnp.concatenate([x, h], 1) @ p["kernel"] + p["bias"])
        return h, h

    return Cell(call, units, units)


def _lstm_step(p, x, state, forget_bias):
    c, h = state
    i, j, f, o = jnp.split(jnp.concatenate([x, h], 1) @ p["kernel"] + p["bias"], 4, 1)
    c = c * jax.nn.sigmoid(f + forget_bias) + jax.nn.sigmoid(i) * jnp.tanh(j)
    return c, jnp.tanh(c) * jax.nn.sigmoid(o)


def _basic_lstm(p, *, units, forget_bias):
    def call(x, state):
        c, h = _lstm_step(p, x, state, forget_bias)
        return h, (c, h)

    return Cell(call, (units, units), units)


def _gru(p, *, units):
    def call(x, h):
        gates = jnp.concatenate([x, h], 1) @ p["gate_kernel"] + p["gate_bias"]
        r, u = jnp.split(jax.nn.sigmoid(gates), 2, 1)
        c = jnp.tanh(jnp.concatenate([x, r * h], 1) @ p["cand_kernel"] + p["cand_bias"])
        h = u * h + (1 - u) * c
        return h, h

    return Cell(call, units, units)


def _accumulator(p, *, units):
    return Cell(lambda x, s: (10 * x + s, s + x), units, units)


def _nested_out(p, *, units, aux):
    def call(x, h):
        h = jnp.tanh(x @ p["W"] + h @ p["U"])
        return (h, (x @ p["V"],)), h

    return Cell(call, units, (units, (aux,)))


def _nested_input(p, *, units):
    def call(x, h):
        h = jnp.tanh(x[0] @ p["Wa"] + x[1] @ p["Wb"] + h @ p["U"])
        return h, h

    return Cell(call, units, units)


def _stack2(p, *, units, units2):
    def call(x, state):
        lstm, g = state
        c, h = _lstm_step(p, x, lstm, 1.0)
        g = jnp.tanh(jnp.concatenate([h, g], 1) @ p["kernel2"] + p["bias2"])
        return g, ((c, h), g)

    return Cell(call, ((units, units), units2), units2)


def _matrix_state(p, *, units):
    def call(x, a):
        a = 0.9 * a + 0.5 * x[:, :, None] * x[:, None, :]
        return (a * x[:, None, :]).sum(2), a

    return Cell(call, (units, units), units)


def _vector_count(p, *, units):
    return Cell(lambda x, s: (x + s[0], (s[0] + x, s[1] + 1)), (units, ()), units)


CELLS: dict[str, tuple[Callable[..., Cell], tuple[str, ...]]] = {
    "basic_rnn": (_basic_rnn, ("units",)),
    "basic_lstm": (_basic_lstm, ("units", "forget_bias")),
    "gru": (_gru, ("units",)),
    "accumulator": (_accumulator, ("units",)),
    "nested_out": (_nested_out, ("units", "aux")),
    "nested_input": (_nested_input, ("units",)),
    "stack2": (_stack2, ("units", "units2")),
    "matrix_state": (_matrix_state, ("units",)),
    "vector_count": (_vector_count, ("units",)),
}
