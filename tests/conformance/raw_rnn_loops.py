"""The loop functions of the raw_rnn cases."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from conformance.cases import Fn, only

from recurrent_iree._raw_rnn import TensorArray

BASE = ("initial_state", "inputs", "sequence_length")


def array_settings(fn: Fn) -> dict[str, Any]:
    """The part of the config that holds arrays (an empty tree counts), to be traced."""
    return {k: v for k, v in fn.config.items() if _holds_arrays(v)}


def make_loop_fn(fn: Fn, arrays: dict[str, Any]) -> Any:
    """The named loop function, with ``arrays`` in place of those of its config."""
    assert fn.name in LOOPS, f"unknown loop_fn {fn.name}"
    make, keys = LOOPS[fn.name]
    settings = only({**fn.config, **arrays}, keys, f"config of {fn.name}")
    missing = set(keys) - set(settings)
    assert not missing, f"config of {fn.name} lacks {sorted(missing)}"
    return make(settings)


def _holds_arrays(value: Any) -> bool:
    return any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(value))


def _slice(inputs, time):
    last = jax.tree.leaves(inputs)[0].shape[0] - 1
    return jax.tree.map(lambda leaf: leaf[jnp.minimum(time, last)], inputs)


def _base(c, time):
    finished = time >= c["sequence_length"]
    zero = jnp.all(finished)
    x = jax.tree.map(lambda leaf: jnp.where(zero, 0, leaf), _slice(c["inputs"], time))
    return finished, x


def _dynamic_rnn(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        return finished, x, c["initial_state"] if output is None else state, output, None

    return loop_fn


def _loop_counter(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            return finished, x, c["initial_state"], None, c["loop_state0"]
        return finished, x, state, output, loop_state + 1

    return loop_fn


def _running_sum(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            return finished, x, c["initial_state"], None, c["loop_state0"]
        n, sums = loop_state
        sums = {"sum": sums["sum"] + output.sum(0), "last": output}
        return finished, x, state, output, (n + time, sums)

    return loop_fn


def _keep_loop_state(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            return finished, x, c["initial_state"], None, c["loop_state0"]
        return finished, x, state, output + loop_state.astype(output.dtype), None

    return loop_fn


def _emit_mapped(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            emit = (jnp.full(c["P"].shape[1], 7, c["P"].dtype), jnp.int32(7))
            return finished, x, c["initial_state"], emit, None
        y = output @ c["P"]
        return finished, x, state, (y, y.argmax(1).astype(jnp.int32)), None

    return loop_fn


def _rewrite(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            return finished, x, c["initial_state"], None, None
        state = jax.tree.map(lambda leaf: 0.5 * leaf + time.astype(leaf.dtype), state)
        return finished, x, state, jax.tree.map(lambda leaf: leaf + 100, output), None

    return loop_fn


def _finish_table(c):
    def loop_fn(time, output, state, loop_state):
        finished = c["table"][jnp.minimum(time, c["table"].shape[0] - 1)]
        state = c["initial_state"] if output is None else state
        return finished, _slice(c["inputs"], time), state, output, None

    return loop_fn


def _lookup(c, tokens):
    """Clipped: random test tokens may be no rows, and IREE 3.13 reads past the table."""
    return c["embedding"][jnp.clip(tokens, 0, c["embedding"].shape[0] - 1)]


def _greedy_decoder(c):
    assert c["emit"] in ("token", "token_and_logits")

    def loop_fn(time, output, state, loop_state):
        if output is None:
            start = c["start_tokens"]
            first = jnp.int32(0)
            if c["emit"] == "token_and_logits":
                first = (first, jnp.zeros(c["bo"].shape, c["bo"].dtype))
            loop_state = (start, jnp.zeros_like(start))
            done = start == c["end_token"]
            return done, _lookup(c, start), c["initial_state"], first, loop_state
        logits = output @ c["Wo"] + c["bo"]
        token = logits.argmax(1).astype(jnp.int32)
        done = (token == c["end_token"]) | (time >= c["max_len"])
        emit = token if c["emit"] == "token" else (token, logits)
        return done, _lookup(c, token), state, emit, (token, loop_state[1] + 1)

    return loop_fn


def _tensor_array(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            loop_state = TensorArray(jnp.float32, dynamic_size=True)
            return finished, x, c["initial_state"], None, loop_state
        total = output.sum() * time.astype(output.dtype)
        return finished, x, state, output, loop_state.write(time - 1, total)

    return loop_fn


def _emit_none_later(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        if output is None:
            first = jax.tree.leaves(c["initial_state"])[0]
            return finished, x, c["initial_state"], jnp.zeros(first.shape[1:], first.dtype), None
        return finished, x, state, None, None

    return loop_fn


def _state_structure(c):
    def loop_fn(time, output, state, loop_state):
        finished, x = _base(c, time)
        pair = (c["initial_state"], c["initial_state"])
        return finished, x, pair if output is None else state, output, None

    return loop_fn


LOOPS: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]]] = {
    "dynamic_rnn": (_dynamic_rnn, BASE),
    "loop_counter": (_loop_counter, (*BASE, "loop_state0")),
    "running_sum": (_running_sum, (*BASE, "loop_state0")),
    "keep_loop_state": (_keep_loop_state, (*BASE, "loop_state0")),
    "emit_mapped": (_emit_mapped, (*BASE, "P")),
    "rewrite": (_rewrite, BASE),
    "finish_table": (_finish_table, ("initial_state", "inputs", "table")),
    "greedy_decoder": (
        _greedy_decoder,
        (
            "initial_state",
            "start_tokens",
            "end_token",
            "max_len",
            "emit",
            "embedding",
            "Wo",
            "bo",
        ),
    ),
    "tensor_array": (_tensor_array, BASE),
    "emit_none_later": (_emit_none_later, BASE),
    "state_structure": (_state_structure, BASE),
    "not_callable": (lambda settings: 3, BASE),
}
