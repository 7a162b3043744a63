"""Compiled programs under random cuts, masks, lengths and resets, against one NumPy loop.

Each program is compiled once per target; the examples run on the loaded model.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import recurrent_iree as ri
import recurrent_iree_runtime as rt

BATCH, WIDTH, TIME = 2, 3, 6
RANDOM = np.random.default_rng(5)
W, U, V = (RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32) * 0.6 for _ in range(3))
many = settings(max_examples=100, deadline=None)
few = settings(max_examples=4, deadline=None)
CPU = "cpu"
VULKAN = "vulkan:llvmpipe"


def cell(x: Any, states: Any, xp: Any = jnp) -> tuple[Any, list]:
    """The output is not the state, and the second state is an integer."""
    h = xp.tanh(x @ W + states[0] @ U)
    return h @ V + states[1][:, None].astype(np.float32), [h, states[1] + 1]


def start() -> list:
    return [jnp.zeros((BATCH, WIDTH)), jnp.zeros(BATCH, jnp.int32)]


def stream(x: Any, mask: Any, reset: Any) -> Any:
    return ri.rnn(cell, x, start(), mask=mask, reset=reset)[1]


def both_directions(x: Any, lengths: Any) -> Any:
    forward = ri.rnn(cell, x, start(), input_length=lengths)
    backward = ri.rnn(cell, x, start(), go_backwards=True, input_length=lengths)
    return forward[:2] + backward[:2]


@pytest.fixture(autouse=True, scope="module")
def close_models() -> Iterator[None]:
    """Close what `model` has loaded: an open Vulkan device would keep the machine busy."""
    yield
    for loaded in _loaded:
        loaded.close()
    _loaded.clear()
    model.cache_clear()


_loaded: list[rt.Model] = []


@functools.cache
def model(name: str, target: str) -> rt.Model:
    """The program of that name, compiled and loaded once."""
    x, bits = ri.spec("batch=2", "time=?", WIDTH), ri.spec("batch=2", "time=?", dtype="bool")
    fixed = ri.spec("batch=2", f"time={TIME}", WIDTH), ri.spec("batch=2", dtype="int32")
    program, specs = {
        "stream": (stream, (x, bits, bits)),
        "both_directions": (both_directions, fixed),
    }[name]
    chunks = (4, 1) if name == "stream" else None
    artifact = ri.compile(program, *specs, targets=[target], name=name, chunks=chunks)
    _loaded.append(rt.load(artifact.to_bytes(), device=target.split(":")[0]))
    return _loaded[-1]


def reference(x: Any, mask: Any, reset: Any) -> np.ndarray:
    """One row and one step at a time: [batch, time, …]."""
    states = [np.zeros((BATCH, WIDTH), np.float32), np.zeros(BATCH, np.int32)]
    previous, outputs = np.zeros((BATCH, WIDTH), np.float32), []
    for t in range(x.shape[1]):
        states = [np.where(_rows(reset[:, t], s), 0, s).astype(s.dtype) for s in states]
        previous = np.where(_rows(reset[:, t], previous), 0, previous)
        output, new = cell(x[:, t], states, np)
        states = [
            np.where(_rows(mask[:, t], n), n, s).astype(s.dtype)
            for n, s in zip(new, states, strict=True)
        ]
        previous = np.where(_rows(mask[:, t], output), output, previous)
        outputs.append(previous)
    return np.stack(outputs, 1)


def _rows(bits: Any, like: Any) -> Any:
    return bits.reshape(bits.shape + (1,) * (like.ndim - 1))


@st.composite
def sequences(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, mask and reset of up to 13 steps."""
    time = draw(st.integers(1, 13))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    often = draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    mask = random.random((BATCH, time)) < often
    reset = random.random((BATCH, time)) < draw(st.sampled_from([0.0, 0.2]))
    x = random.normal(size=(BATCH, time, WIDTH)).astype(np.float32)
    return x, mask, reset


def pieces(draw: Any, time: int) -> list[tuple[int, int]]:
    """Any cut of ``time`` steps, as pairs (from, to)."""
    inner = draw(st.sets(st.integers(1, time - 1), max_size=5)) if time > 1 else set()
    edges = [0, *sorted(inner), time]
    return list(zip(edges, edges[1:], strict=False))


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def run_cut(target: str, arguments: Any, data: Any) -> None:
    cut = pieces(data.draw, arguments[0].shape[1])
    with model("stream", target).session() as session:
        got = [session.run(*(a[:, i:j] for a in arguments)) for i, j in cut]
    close(np.concatenate(got, 1), reference(*arguments))


def run_steps(target: str, arguments: Any) -> None:
    time = arguments[0].shape[1]
    with model("stream", target).session() as session:
        got = np.stack([session.step(*(a[:, t] for a in arguments)) for t in range(time)], 1)
    close(got, reference(*arguments))


def run_lengths(target: str, x: Any, lengths: np.ndarray) -> None:
    """Forward and backward, each like the masked loop over the steps in its order."""
    mask = np.arange(TIME) < lengths[:, None]
    none = np.zeros_like(mask)
    forward = reference(x, mask, none)
    backward = reference(x[:, ::-1], mask[:, ::-1], none)
    want = (forward[:, -1], forward, backward[:, -1], backward)
    for one, other in zip(model("both_directions", target)(x, lengths), want, strict=True):
        close(one, other)


lengths_of_rows = st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH).map(
    lambda lengths: np.array(lengths, np.int32)
)


@many
@given(sequences(), st.data())
def test_any_cut_equals_the_whole(arguments: Any, data: Any) -> None:
    run_cut(CPU, arguments, data)


@many
@given(sequences())
def test_step_by_step_equals_the_sequence(arguments: Any) -> None:
    run_steps(CPU, arguments)


@many
@given(sequences())
def test_a_whole_call_equals_the_loop(arguments: Any) -> None:
    close(model("stream", CPU)(*arguments), reference(*arguments))


@many
@given(sequences(), sequences())
def test_a_reset_session_knows_nothing_of_before(before: Any, arguments: Any) -> None:
    with model("stream", CPU).session() as session:
        session.run(*before)
        session.reset()
        close(session.run(*arguments), reference(*arguments))


@many
@given(sequences(), lengths_of_rows)
def test_lengths_of_a_stream_are_a_mask(arguments: Any, lengths: np.ndarray) -> None:
    x = np.resize(arguments[0], (BATCH, TIME, WIDTH))
    mask = np.arange(TIME) < lengths[:, None]
    with model("stream", CPU).session() as session:
        got = session.run(x, mask, np.zeros_like(mask))
    close(got, model("both_directions", CPU)(x, lengths)[1])


@many
@given(sequences(), lengths_of_rows)
def test_go_backwards_equals_the_loop(arguments: Any, lengths: np.ndarray) -> None:
    run_lengths(CPU, np.resize(arguments[0], (BATCH, TIME, WIDTH)), lengths)


@pytest.mark.vulkan
@few
@given(sequences(), lengths_of_rows, st.data())
def test_on_vulkan(arguments: Any, lengths: np.ndarray, data: Any) -> None:
    run_cut(VULKAN, arguments, data)
    run_steps(VULKAN, arguments)
    run_lengths(VULKAN, np.resize(arguments[0], (BATCH, TIME, WIDTH)), lengths)
