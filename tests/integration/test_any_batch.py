"""`batch=?`: one function runs any number of rows where the recurrences are kernels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import any_rows, cells, running
from compiler.fused.running import assert_trees_close
from hypothesis import given, settings, strategies as st
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

MOST, LONGEST, FEATURES, UNITS = 45, 9, 3, 6
ROWS = (0, 1, 2, 3, 4, 5, 8, 9, 17, 40)
rng = np.random.default_rng(5)
W = rng.standard_normal((FEATURES, UNITS)).astype(np.float32)
U = (rng.standard_normal((UNITS, UNITS)) * 0.3).astype(np.float32)


def decaying(x: Any) -> Any:
    """Two loops, an output of bools, a flag that ends a row, and products around the loops."""
    steps = jnp.swapaxes(x, 0, 1)
    zero = jnp.zeros((x.shape[0], UNITS))

    def first(state: Any, v: Any) -> Any:
        h, done = state
        h = jnp.where(done[:, None], h, 0.5 * h + jnp.tanh(v @ W + h @ U))
        return (h, done | (h[:, 0] > 0.9)), h

    done = jnp.zeros((x.shape[0],), bool)
    _, inner = lax.scan(first, (zero, done), steps)
    _, outer = lax.scan(lambda s, v: (0.9 * s + v, (s @ U + 1, s > v)), zero, inner)
    return jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), outer)


# Of these two, one has no rows, and those of the other need each other.
WITH_ROWS = [cell for cell in cells.ALL if cell not in (cells.no_batch, cells.batch_norm)]

PROGRAMS = {
    "lstm": ("time=?", ["cpu"], lambda: ri.layers.LSTM(UNITS, return_sequences=True)),
    "decaying": ("time=5", ["cpu", "xla"], lambda: decaying),
}


@functools.cache
def _made(name: str) -> Any:
    time, targets, make = PROGRAMS[name]
    program = make()
    artifact = ri.compile(program, ri.spec("batch=?", time, FEATURES), targets=targets)
    length = LONGEST if "?" in time else int(time.split("=")[1])
    x = rng.standard_normal((MOST, length, FEATURES)).astype(np.float32)
    whole = [np.asarray(y) for y in jax.tree.leaves(program(jnp.asarray(x)))]
    return artifact, rt.load(artifact.to_bytes(), device="cpu"), x, whole


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), batch=st.sampled_from(ROWS) | st.integers(0, MOST))
def test_any_rows_and_steps_are_those_of_the_largest(name: str, data: Any, batch: int) -> None:
    _, model, x, whole = _made(name)
    length = x.shape[1]
    if "?" in PROGRAMS[name][0]:
        length = data.draw(st.integers(0, LONGEST))
    assert_trees_close(model(x[:batch, :length]), [y[:batch, :length] for y in whole])


@pytest.mark.parametrize("name", PROGRAMS)
def test_rows_one_by_one_give_the_same(name: str) -> None:
    _, model, x, _ = _made(name)
    alone = [jax.tree.leaves(model(x[n : n + 1])) for n in range(7)]
    joined = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    assert_trees_close(model(x[:7]), joined)


def test_the_report_says_how_many_rows_share_a_workgroup() -> None:
    artifact, _, _, _ = _made("lstm")
    (target,) = artifact.report()["targets"]
    assert target["verification"]["status"] == "verified"
    assert target["lengths"] == "one function runs any number of steps"
    loop = target["recurrences"][0]
    assert (loop["form"], loop["details"]["plan"]["batch"]) == ("fused kernel", None)
    text = "any number of steps, any number of rows in workgroups of at most 32"
    assert text in loop["details"]["text"]


def test_a_seen_shape_is_called_without_looking_again() -> None:
    _, model, x, _ = _made("lstm")
    for _ in range(2):
        for batch in (3, 8):
            model(x[:batch])
    made = [key for key in model._shortcuts if key[1] in [(n, LONGEST, FEATURES) for n in (3, 8)]]
    assert len(made) == len({*made}) == 2


@pytest.mark.parametrize("name", PROGRAMS)
@settings(max_examples=8, deadline=None)
@given(batch=st.sampled_from(ROWS) | st.integers(0, MOST), cut=st.integers(0, 4))
def test_a_session_has_any_number_of_rows(name: str, batch: int, cut: int) -> None:
    _, model, x, whole = _made(name)
    with model.session(batch=batch) as stream:
        parts = [stream.run(x[:batch, :cut])]
        with model.restore(stream.snapshot()) as other:
            assert other.dims == {"batch": batch}
            steps = [other.step(x[:batch, t]) for t in range(cut, x.shape[1])]
    later = jax.tree.map(lambda *s: np.stack(s, axis=1), *steps)
    joined = jax.tree.map(lambda *p: np.concatenate(p, axis=1), *parts, later)
    assert_trees_close(joined, [y[:batch] for y in whole])


def test_a_session_without_its_rows_is_refused() -> None:
    _, model, x, _ = _made("lstm")
    with pytest.raises(rt.ArgumentError, match="a session needs its size: batch=\\?"):
        model.session()
    with model.session(batch=3) as stream, pytest.raises(rt.SignatureError, match="batch 4"):
        stream.run(x[:4])


def test_a_batcher_stacks_any_number_of_streams() -> None:
    _, model, x, whole = _made("lstm")
    with model.batcher(max_streams=11) as batcher:
        assert batcher.sizes == (1, 2, 4, 8, 11)
        streams = [batcher.stream() for _ in range(11)]
        for count in (3, 11, 5):
            for stream in streams:
                stream.reset()
            made = [batcher.step(streams[:count], x[:count, t]) for t in range(4)]
            assert_trees_close(np.stack(made, axis=1), [whole[0][:count, :4]])


def test_the_layer_of_the_file_takes_any_number_of_rows() -> None:
    _, model, x, whole = _made("lstm")
    for batch in (1, 6):
        assert_trees_close(model.layer(x[:batch]), [whole[0][:batch]])


def test_rows_that_start_with_values_of_their_own_do_not_stream() -> None:
    def program(x: Any) -> Any:
        h = jnp.broadcast_to(jnp.cumsum(x[:, :1, 0] * 0 + 1, axis=0), (x.shape[0], FEATURES))
        return lax.scan(lambda h, v: (h + v, h), h * 1, jnp.swapaxes(x, 0, 1))[1]

    lowered = ri.lower(program, ri.spec("batch=?", "time=4", FEATURES))
    assert "start of a loop depends on the inputs" in lowered.streaming


def test_a_constant_that_is_no_number_is_the_same_for_all_sizes() -> None:
    """The variance of JAX has one, for an axis of no elements."""

    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            return jnp.tanh(v + jnp.var(h, -1, keepdims=True)), h

        return lax.scan(step, jnp.zeros_like(x[0]), x)[1]

    lowered = ri.lower(program, ri.spec("time=?", "batch=?", FEATURES))
    assert lowered.any_length == "yes"


@pytest.mark.slow
def test_lengths_of_any_number_of_rows_and_steps() -> None:
    """The mask of steps and rows, two sizes that are not known, is made outside of the loop."""

    def program(x: Any, lengths: Any) -> Any:
        def step(v: Any, states: Any) -> Any:
            h = jnp.tanh(v @ W + states[0] @ U)
            return h, [h]

        start = [jnp.zeros((x.shape[0], UNITS))]
        return ri.rnn(step, x, start, input_length=lengths, zero_output_for_mask=True)

    specs = ri.spec("batch=?", "time=?", FEATURES), ri.spec("batch=?", dtype="int32")
    artifact = ri.compile(program, *specs, targets=["cpu"], fallback="error")
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch, time in ((1, 4), (3, 1), (5, 9), (40, 3)):
            x = rng.standard_normal((batch, time, FEATURES)).astype(np.float32)
            lengths = rng.integers(0, time + 1, size=(batch,), dtype=np.int32)
            want = [np.asarray(y) for y in jax.tree.leaves(program(x, jnp.asarray(lengths)))]
            assert_trees_close(model(x, lengths), want)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_weights_in_fewer_bits(kind: Any) -> None:
    layer = ri.layers.GRU(16, return_sequences=True)
    spec = ri.spec("batch=?", "time=?", FEATURES)
    (target,) = ri.compile(layer, spec, targets=["cpu"], weights=kind).report()["targets"]
    assert target["verification"]["status"] == "verified"
    assert "are read as" in target["recurrences"][0]["details"]["stored weights"]


@pytest.mark.slow
def test_two_directions_of_any_number_of_rows() -> None:
    layer = ri.layers.Bidirectional(ri.layers.GRU(UNITS, return_sequences=True))
    artifact = ri.compile(layer, ri.spec("batch=?", "time=?", FEATURES), targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in ROWS:
            x = rng.standard_normal((batch, 4, FEATURES)).astype(np.float32)
            assert_trees_close(model(x), [np.asarray(layer(jnp.asarray(x)))])


@pytest.mark.slow
def test_the_last_of_no_steps_is_refused() -> None:
    layer = ri.layers.GRU(UNITS)
    artifact = ri.compile(layer, ri.spec("batch=?", "time=?", FEATURES), targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        x = rng.standard_normal((6, 4, FEATURES)).astype(np.float32)
        assert_trees_close(model(x), [np.asarray(layer(jnp.asarray(x)))])
        with pytest.raises(rt.SignatureError, match="expected at least 1 step"):
            model(x[:, :0])


def _sums(x: Any) -> Any:
    return lax.scan(lambda h, v: (h + v, h), jnp.zeros_like(x[0]), x)[1]


def test_a_target_without_kernels_is_refused() -> None:
    with pytest.raises(ri.UnsupportedError, match='no fused kernels for vmvx.*"batch=1|8"'):
        ri.compile(_sums, ri.spec(4, "batch=?"), targets=["vmvx"])


def test_xla_takes_any_number_of_rows() -> None:
    artifact, _, x, whole = _made("decaying")
    with rt.load(artifact.to_bytes(), device="xla") as model:
        assert_trees_close(model(x[:7]), [y[:7] for y in whole])
        with model.session(batch=3) as stream:
            assert_trees_close(stream.step(x[:3, 0]), [y[:3, 0] for y in whole])


@pytest.mark.slow
@pytest.mark.parametrize("units", [7, 96])
@pytest.mark.parametrize("cell", WITH_ROWS, ids=lambda cell: cell.__name__)
def test_cells_equal_xla_for_any_rows(cell: Any, units: int) -> None:
    # Of these XLA is as far from float64 itself: a running product, and sums of 192 in a softmax.
    loose = cell in (cells.shuffled, cells.many_heads)
    rtol, atol = (5e-3, 5e-3) if loose else (1e-4, 2e-5)
    function, specs, inputs, whole = any_rows.program(cell, units)
    options = ri.BuildOptions(verify=False)
    artifact = ri.compile(function, *specs, targets=["cpu"], fallback="error", options=options)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in ROWS[1:]:
            made = [np.asarray(y) for y in jax.tree.leaves(model(*inputs(batch)))]
            running.assert_close(made, running.by_xla(function, whole(batch)), rtol=rtol, atol=atol)


@functools.cache
def _of_any_size() -> bytes:
    layer = ri.layers.SimpleRNN(4, return_sequences=True)
    return ri.compile(layer, ri.spec("batch=?", "time=?", 3), targets=["cpu"]).to_bytes()


@pytest.mark.parametrize("size", ["3", 2.5, -1, True, [2]])
def test_a_session_needs_a_number_of_rows(size: Any) -> None:
    with rt.load(_of_any_size(), "cpu") as model:
        with pytest.raises(rt.ArgumentError, match="batch=.*expected a number of rows, such as"):
            model.session(batch=size)
        two: Any = np.int64(2)
        assert model.session(batch=two).run(np.zeros((2, 3, 3), np.float32)).shape[0] == 2
