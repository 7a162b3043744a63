"""`time=?`: one function runs any number of steps where the recurrence is one kernel."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import _build, recompile

LONGEST, FEATURES, UNITS = 70, 3, 6
rng = np.random.default_rng(3)
W = rng.standard_normal((FEATURES, UNITS)).astype(np.float32)
U = (rng.standard_normal((UNITS, UNITS)) * 0.3).astype(np.float32)


def decaying(x: Any) -> Any:
    """Two loops, an output of bools, and products before, in and after the loops."""
    steps = jnp.swapaxes(x, 0, 1)
    zero = jnp.zeros((x.shape[0], UNITS))

    def first(h: Any, v: Any) -> Any:
        h = 0.5 * h + jnp.tanh(v @ W + h @ U)
        return h, h

    _, inner = lax.scan(first, zero, steps)
    _, outer = lax.scan(lambda s, v: (0.9 * s + v, (s @ U + 1, s > v)), zero, inner)
    return jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), outer)


def counting(x: Any) -> Any:
    """A loop that does not look at its input."""
    zero = jnp.zeros((x.shape[0],), jnp.int32)
    count = lax.scan(lambda n, _: (n + 1, n), zero, None, length=x.shape[1])[1]
    return jnp.swapaxes(count, 0, 1) + (x > 0).sum(-1)


PROGRAMS = {
    "lstm": lambda: ri.layers.LSTM(UNITS, return_sequences=True),
    "stack": lambda: ri.layers.Sequential(
        [
            ri.layers.GRU(UNITS, return_sequences=True),
            ri.layers.SimpleRNN(5, return_sequences=True),
            ri.layers.Dense(2),
        ]
    ),
    "decaying": lambda: decaying,
    "counting": lambda: counting,
}


@functools.cache
def _made(name: str) -> Any:
    program = PROGRAMS[name]()
    spec = ri.spec("batch=1|5", "time=?", FEATURES)
    artifact = ri.compile(program, spec, targets=["cpu"])
    x = rng.standard_normal((5, LONGEST, FEATURES)).astype(np.float32)
    whole = [np.asarray(y) for y in jax.tree.leaves(program(jnp.asarray(x)))]
    return artifact, rt.load(artifact.to_bytes(), device="cpu"), x, whole


def _close(made: Any, expected: list[np.ndarray]) -> None:
    for a, b in zip(jax.tree.leaves(made), expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_report_says_that_one_function_serves_all(name: str) -> None:
    artifact, model, _, _ = _made(name)
    report = artifact.report()
    assert report["program"]["any length"] == "yes"
    (target,) = report["targets"]
    assert target["lengths"] == "one function runs any number of steps"
    assert None in [made["steps"] for made in target["recurrences"]]
    dims = [f.dims for f in model.entries["chunk"].functions]
    assert sorted(d.get("time", 0) for d in dims) == [0, 0, 1, 1]


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=12, deadline=None)
@given(length=st.integers(0, LONGEST), batch=st.sampled_from([1, 5]))
def test_every_length_gives_the_start_of_the_longest(name: str, length: int, batch: int) -> None:
    _, model, x, whole = _made(name)
    _close(model(x[:batch, :length]), [y[:batch, :length] for y in whole])


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, LONGEST), max_size=5))
def test_pieces_of_any_length_give_the_whole(name: str, cuts: list[int]) -> None:
    _, model, x, whole = _made(name)
    ends = [*sorted(cuts), LONGEST]
    with model.session(batch=5) as stream:
        parts = [stream.run(x[:, a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    joined = jax.tree.map(lambda *p: np.concatenate(p, axis=1), *parts)
    _close(joined, whole)


def test_no_steps_leave_the_state_as_it_is() -> None:
    _, model, x, _ = _made("lstm")
    with model.session(batch=5) as stream:
        before = stream.states
        assert stream.run(x[:, :0]).shape == (5, 0, UNITS)
        for name, value in stream.states.items():
            np.testing.assert_array_equal(value, before[name])


def test_an_output_without_time_needs_a_step() -> None:
    layer = ri.layers.LSTM(UNITS)
    artifact = ri.compile(layer, ri.spec("batch=1", "time=?", FEATURES), targets=["cpu"])
    assert artifact.report()["targets"][0]["lengths"].startswith("one function")
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        x = rng.standard_normal((1, 23, FEATURES)).astype(np.float32)
        _close(model(x), [np.asarray(layer(jnp.asarray(x)))])
        with pytest.raises(rt.SignatureError, match="expected at least 1 step"):
            model(x[:, :0])


def test_targets_without_kernels_run_the_same_file_in_chunks() -> None:
    artifact = ri.compile(
        decaying, ri.spec("batch=1", "time=?", FEATURES), targets=["cpu", "vmvx", "xla"]
    )
    made = {t["target"]: t["lengths"] for t in artifact.report()["targets"]}
    assert made["vmvx"].startswith("in chunks, because there are no fused kernels for vmvx")
    assert made["xla"].startswith("in chunks, because XLA")
    x = rng.standard_normal((1, 19, FEATURES)).astype(np.float32)
    results = []
    for device in ("cpu", "vmvx", "xla"):
        with rt.load(artifact.to_bytes(), device=device) as model:
            lengths = {f.dims.get("time") for f in model.entries["chunk"].functions}
            assert lengths == ({None, 1} if device == "cpu" else {64, 8, 1})
            results.append([np.asarray(y) for y in jax.tree.leaves(model(x))])
    _close(results[1], results[0])
    _close(results[2], results[0])


def _other_for_long(x: Any) -> Any:
    y = x * 1 if x.shape[1] > 8 else x
    return lax.scan(lambda h, v: (h + v, h), jnp.zeros(FEATURES), jnp.tanh(y[0]))[1]


def _not_fused(x: Any) -> Any:
    """A loop in the loop."""

    def step(h: Any, v: Any) -> Any:
        return lax.fori_loop(0, 3, lambda _, a: jnp.cos(a + v), h), h

    return lax.scan(step, jnp.zeros(FEATURES), x[0])[1]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (_other_for_long, "in chunks"),
        (_not_fused, "in chunks, because not fused, because of"),
    ],
)
def test_what_cannot_be_of_any_length_runs_in_chunks(program: Any, reason: str) -> None:
    artifact = ri.compile(program, ri.spec("batch=1", "time=?", FEATURES), targets=["cpu"])
    report = artifact.report()
    if program is _not_fused:
        assert report["targets"][0]["lengths"].startswith(reason)
    else:
        assert "the program is another one for other lengths" in report["program"]["any length"]
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        assert {f.dims["time"] for f in model.entries["chunk"].functions} == {64, 8, 1}
        x = rng.standard_normal((1, 7, FEATURES)).astype(np.float32)
        _close(model(x), [np.asarray(program(jnp.asarray(x)))])


def _leaking(x: Any) -> Any:
    steps = jnp.swapaxes(x, 0, 1)
    _, y = lax.scan(lambda h, v: (h * 0.8125 + v, h), jnp.zeros((1, FEATURES)), steps)
    return jnp.swapaxes(y, 0, 1)


@pytest.fixture
def wrong_for_any_length(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> ri.BuildOptions:
    """A compiler that gets one constant wrong wherever a module has functions of any length."""
    right = _build.compile_module

    def wrong(text: str, *rest: Any) -> bytes:
        if "tensor<1x?x" in text:
            assert "8.125000e-01" in text
            text = text.replace("8.125000e-01", "8.750000e-01")
        return right(text, *rest)

    monkeypatch.setattr(_build, "compile_module", wrong)
    return ri.BuildOptions(cache_dir=tmp_path)


def test_wrong_numbers_in_the_function_of_any_length_leave_chunks(
    wrong_for_any_length: ri.BuildOptions,
) -> None:
    spec = ri.spec("batch=1", "time=?", FEATURES)
    artifact = ri.compile(_leaking, spec, targets=["cpu"], options=wrong_for_any_length)
    (cpu,) = artifact.report()["targets"]
    assert cpu["lengths"].startswith(
        "in chunks, because the function of any length does not pass its golden calls: "
        "'_leaking' gives wrong numbers on 'cpu:local-sync' in 'sequence' (batch=1, time="
    )
    assert cpu["verification"]["status"] == "verified"
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        assert {f.dims["time"] for f in model.entries["chunk"].functions} == {64, 8, 1}
        x = rng.standard_normal((1, 77, FEATURES)).astype(np.float32)
        _close(model(x), [np.asarray(_leaking(jnp.asarray(x)))])


def test_wrong_numbers_in_the_function_of_any_length_are_refused_on_request(
    wrong_for_any_length: ri.BuildOptions,
) -> None:
    spec = ri.spec("batch=1", "time=?", FEATURES)
    message = 'golden calls: .* wrong numbers .*with fallback="loop" .* in chunks instead'
    with pytest.raises(rt.VerificationError, match=message):
        ri.compile(_leaking, spec, targets=["cpu"], options=wrong_for_any_length, fallback="error")


def test_chunks_that_were_asked_for_are_kept() -> None:
    artifact = ri.compile(
        decaying, ri.spec("batch=1", "time=?", FEATURES), targets=["cpu"], chunks=(4, 1)
    )
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        assert {f.dims["time"] for f in model.entries["chunk"].functions} == {4, 1}


def test_a_file_for_the_processor_becomes_one_for_others() -> None:
    spec = ri.spec("batch=1", "time=?", FEATURES)
    artifact = ri.compile(decaying, spec, targets=["cpu"], fallback="error")
    other = recompile(artifact.to_bytes(), ["vmvx"])
    x = rng.standard_normal((1, 11, FEATURES)).astype(np.float32)
    with rt.load(artifact.to_bytes(), device="cpu") as a, rt.load(other.to_bytes()) as b:
        assert {f.dims.get("time") for f in b.entries["chunk"].functions} == {64, 8, 1}
        _close(b(x), jax.tree.leaves(a(x)))
