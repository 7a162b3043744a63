"""Streams of a batcher on the fake driver: order, misuse, faults."""

import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import rows, tiny

RNG = np.random.default_rng(1)
X = RNG.standard_normal((7, 9, 3)).astype(np.float32)
Y, H = rows.steps(X)


@pytest.fixture
def model():
    return rows.model()


def test_steps_one_by_one(model):
    with model.batcher(max_streams=3) as batcher:
        assert batcher.sizes == (1, 2) and batcher.streams == 0
        streams = [batcher.stream() for _ in range(3)]
        for t in range(9):
            for i, stream in enumerate(streams):
                np.testing.assert_allclose(stream.step(X[i, t]), Y[i, t], rtol=1e-6)
        np.testing.assert_allclose(streams[1].states["h"], H[1], rtol=1e-6)
        assert "3 of 3 streams" in repr(batcher) and "Stream 1" in repr(streams[1])


def test_any_selection_of_streams_in_any_order(model):
    batcher = model.batcher(max_streams=7)
    streams = [batcher.stream() for _ in range(7)]
    done = [0] * 7
    for _ in range(60):
        some = RNG.permutation(7)[: RNG.integers(1, 8)]
        some = [i for i in some if done[i] < 9]
        if not some:
            continue
        got = batcher.step([streams[i] for i in some], np.stack([X[i, done[i]] for i in some]))
        want = np.stack([Y[i, done[i]] for i in some])
        np.testing.assert_allclose(got, want, rtol=1e-6)
        for i in some:
            done[i] += 1
    for i, stream in enumerate(streams):
        if done[i]:
            np.testing.assert_allclose(stream.states["h"], steps_h(i, done[i]), rtol=1e-6)


def steps_h(i, count):
    return rows.steps(X[i : i + 1, :count])[1][0]


def test_a_steady_set_copies_no_states():
    driver = rows.driver()
    model = rt.load(rows.artifact(), device=driver)
    batcher = model.batcher(max_streams=2)
    streams = [batcher.stream(), batcher.stream()]
    moved = []
    stream_executable = model.runner().stream
    to_host = stream_executable.to_host
    stream_executable.to_host = lambda *a: moved.append("host") or to_host(*a)
    for t in range(9):
        batcher.step(streams, X[:2, t])
    assert moved == []
    streams[0].step(X[0, 0])
    assert moved == ["host"]
    np.testing.assert_allclose(streams[1].states["h"], H[1], rtol=1e-6)


def test_streams_join_leave_and_start_again(model):
    batcher = model.batcher(max_streams=2)
    first, second = batcher.stream(), batcher.stream()
    with pytest.raises(rt.StateError, match="all 2 streams of this batcher are open; close one"):
        batcher.stream()
    batcher.step([first, second], X[:2, 0])
    first.close()
    first.close()
    assert batcher.streams == 1
    with batcher.stream() as third:
        np.testing.assert_allclose(third.step(X[2, 0]), Y[2, 0], rtol=1e-6)
        np.testing.assert_allclose(second.step(X[1, 1]), Y[1, 1], rtol=1e-6)
        second.reset()
        np.testing.assert_allclose(second.step(X[1, 0]), Y[1, 0], rtol=1e-6)
        kept = second.states
        third.set_states(kept)
        np.testing.assert_allclose(third.step(X[1, 1]), Y[1, 1], rtol=1e-6)
    with pytest.raises(rt.StateError, match="this stream was closed; open another"):
        third.step(X[2, 0])
    assert "closed" in repr(third)


def test_many_threads(model):
    batcher, failures = model.batcher(max_streams=7, max_wait=0.0005), []

    def work(i):
        with batcher.stream() as stream:
            for t in range(9):
                if not np.allclose(stream.step(X[i, t]), Y[i, t], rtol=1e-5, atol=1e-6):
                    failures.append((i, t))

    for _ in range(5):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert not failures and batcher.streams == 0


def test_waiting_steps_share_a_call():
    driver, gate = rows.driver(), threading.Event()
    good, sizes = dict(driver.functions), []

    def slow(size):
        def call(x, h):
            sizes.append(size)
            gate.wait(10)
            return good[f"chunk_b{size}_t1"](x, h)

        return call

    for size in (1, 2):
        driver.functions[f"chunk_b{size}_t1"] = slow(size)
    batcher = rt.load(rows.artifact(), device=driver).batcher(max_streams=5)
    streams = [batcher.stream() for _ in range(5)]
    threads = [threading.Thread(target=s.step, args=(X[i, 0],)) for i, s in enumerate(streams)]
    threads[0].start()
    while not sizes:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(batcher._queue) < 4:
        time.sleep(0.001)
    with pytest.raises(rt.StateError, match="this stream is in another step"):
        streams[0].step(X[0, 0])
    with pytest.raises(rt.StateError, match="this stream is in another step"):
        batcher.step(streams, X[:5, 0])
    gate.set()
    for thread in threads:
        thread.join(10)
    assert sizes == [1, 2, 2]


def test_waiting_for_others_ends():
    batcher = rows.model().batcher(max_streams=2, max_wait=0.01)
    first, _ = batcher.stream(), batcher.stream()
    start = time.monotonic()
    np.testing.assert_allclose(first.step(X[0, 0]), Y[0, 0], rtol=1e-6)
    assert 0.005 < time.monotonic() - start < 5


BAD = [
    (lambda b, s: s.step(X[0, 0].astype(float)), rt.SignatureError, "has dtype float64"),
    (lambda b, s: s.step(X[0, 0, :2]), rt.SignatureError, r"shape \[2\]; a step of one stream .*3"),
    (lambda b, s: s.step(X[:1, 0]), rt.SignatureError, "has 2 dimensions"),
    (lambda b, s: b.step([s], X[0, 0]), rt.SignatureError, "has 1 dimensions"),
    (lambda b, s: b.step([s], X[:2, 0]), rt.SignatureError, r"a step of 1 streams takes \[1, 3\]"),
    (lambda b, s: b.step([], X[:0, 0]), rt.ArgumentError, "no streams were given"),
    (lambda b, s: b.step([s, s], X[:2, 0]), rt.StateError, "in another step"),
    (lambda b, s: rows.model().batcher(1).step([s], X[:1, 0]), rt.StateError, "another batcher"),
    (lambda b, s: s.set_states({}), rt.StateError, "are a dict with h"),
    (lambda b, s: s.set_states({"h": H[:1]}), rt.SignatureError, "has 2 dimensions"),
    (lambda b, s: s.set_states({"h": H[0, :2]}), rt.StateError, r"has shape \[2\]; expected \[3\]"),
]


@pytest.mark.parametrize("use, error, message", BAD)
def test_refused_steps_change_nothing(model, use, error, message):
    batcher = model.batcher(max_streams=2)
    stream = batcher.stream()
    stream.step(X[0, 0])
    with pytest.raises(error, match=message):
        use(batcher, stream)
    np.testing.assert_allclose(stream.step(X[0, 1].tolist()), Y[0, 1], rtol=1e-5)


def test_arguments_of_a_batcher(model):
    for value, error in ((0, rt.ArgumentError), (1 << 30, rt.ArgumentError)):
        with pytest.raises(error, match="max_streams is .*; expected 1 to"):
            model.batcher(max_streams=value)
    for value in (True, 2.0, "2"):
        with pytest.raises(rt.ArgumentTypeError, match="max_streams is .*; expected an integer"):
            model.batcher(max_streams=value)
    with pytest.raises(rt.ArgumentError, match="max_wait is -1; expected 0 to 60"):
        model.batcher(max_streams=2, max_wait=-1)


def test_programs_whose_rows_cannot_be_stacked():
    with pytest.raises(rt.StateError, match="the state 'n' has no dim 'batch' .* shared by all"):
        tiny.fake_model()[0].batcher(max_streams=2)
    entries = [e for e in tiny.entries()]
    leaf = rt.Leaf("x", (2, "time", 3), "float32")
    bad = tuple(
        rt.Entry(e.name, e.realization, (leaf,) if e.inputs and e.name != "pair" else e.inputs,
                 e.input_tree, e.outputs, e.output_tree, e.functions)
        for e in entries
    )  # fmt: skip
    with pytest.raises(rt.StateError, match="the input 'x' has no dim 'batch'"):
        rt.load(rows.artifact(entries=bad), device=rows.driver()).batcher(max_streams=2)
    long = tuple(
        rt.Entry(e.name, e.realization, e.inputs, e.input_tree, e.outputs, e.output_tree,
                 tuple(f for f in e.functions if f.dims.get("time") != 1))
        for e in entries
    )  # fmt: skip
    with pytest.raises(rt.StateError, match='has no step over a batch; .*"batch=1|8|32"'):
        rt.load(rows.artifact(entries=long), device=rows.driver()).batcher(max_streams=2)


def turned():
    """The program with a batch of 4 only, and last: `[time, 3, batch]`."""

    def steps(x, h):
        y, h = rows.steps(np.moveaxis(x, 2, 0), h.T)
        return np.moveaxis(y, 0, 2), h.T

    def edge(leaf):
        return rt.Leaf(leaf.name, ("time", 3, "batch"), leaf.dtype)

    entries = []
    for e in tiny.entries()[:3]:
        functions = tuple(
            rt.Function(f"{e.name}{f.dims.get('time', '')}", {**f.dims, "batch": 4})
            for f in e.functions[: len(e.functions) // 2]
        )
        ends = tuple(map(edge, e.inputs)), tuple(map(edge, e.outputs))
        entries.append(rt.Entry(e.name, e.realization, ends[0], e.input_tree, ends[1],
                                e.output_tree, functions))  # fmt: skip
    driver = rt.FakeDriver({"chunk4": steps, "chunk1": steps, "init": lambda: [np.zeros((3, 4))]})
    states = (rt.Leaf("h", (3, "batch"), "float32"),)
    data = rows.artifact(entries=tuple(entries), states=states, dims=(
        rt.Dim("batch", (4,)), rt.Dim("time", None)))  # fmt: skip
    return rt.load(data, device=driver)


def test_any_axis_and_rows_that_fill_up():
    batcher = turned().batcher(max_streams=7)
    streams = [batcher.stream() for _ in range(7)]
    for t in range(3):
        for some in ([0, 1], [2], [3, 4, 5, 6], [1, 0]):
            got = batcher.step([streams[i] for i in some], X[some, t].T)
            if some != [1, 0]:
                continue
            assert got.shape == (3, 2)
    np.testing.assert_allclose(streams[2].states["h"], steps_h(2, 3), rtol=1e-5)
    assert batcher.step(streams, X[:, 3].T).shape == (3, 7)
    np.testing.assert_allclose(streams[5].states["h"], steps_h(5, 4), rtol=1e-5)
    np.testing.assert_allclose(streams[6].step(X[6, 4]), Y[6, 4], rtol=1e-5)


def test_replaced_weights(model):
    batcher = model.batcher(max_streams=2)
    stream = batcher.stream()
    stream.step(X[0, 0])
    model.set_weights(model.get_weights())
    assert batcher._store.runner is model.runner()
    np.testing.assert_allclose(stream.step(X[0, 1]), Y[0, 1], rtol=1e-6)


def test_one_size_of_other_dims():
    entries = []
    for e in tiny.entries():
        both = tuple(
            rt.Function(f"{f.symbol}_{width}", {**f.dims, "width": width}, f.cost)
            for f in e.functions
            for width in (3, 5)
        )
        entries.append(
            e
            if e.name in ("pair", "sequence")
            else rt.Entry(e.name, e.realization, e.inputs, e.input_tree, e.outputs, e.output_tree,
                          both)
        )  # fmt: skip
    dims = (*tiny.manifest().dims, rt.Dim("width", (3, 5)))
    model = rt.load(rows.artifact(entries=tuple(entries), dims=dims), device=rows.driver())
    with pytest.raises(rt.ArgumentError, match="needs one size of each dim but batch; it was"):
        model.batcher(max_streams=2)
