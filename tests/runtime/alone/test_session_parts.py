"""Sessions and batchers when things meet: replaced weights, lost devices, ends, long calls."""

import asyncio
import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _chunks
from recurrent_iree_runtime._gradients import COTANGENTS
from runtime import layers, rows, tiny

RNG = np.random.default_rng(8)
X = RNG.standard_normal((2, 6, 3)).astype(np.float32)
Y, H = rows.steps(X)


def same(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_snapshot_in_a_file(tmp_path):
    stream = rows.model().session(batch=2)
    stream.run(X[:, :4])
    data = stream.snapshot(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == data
    other = rows.model().session(batch=2)
    other.restore(data)
    same(other.run(X[:, 4:]), Y[:, 4:])


def test_steps_by_name_take_the_short_way_too():
    stream = rows.model().session(batch=2)
    for t in range(3):
        same(stream.step(x=X[:, t].copy()), Y[:, t])


def test_calls_that_are_too_long_change_nothing(monkeypatch):
    monkeypatch.setattr(_chunks, "LONGEST", 5)
    model = rows.model()
    stream = model.session(batch=2)
    stream.step(X[:, 0])
    for call in (model, stream.run):
        with pytest.raises(rt.SignatureError, match="time 6; .*'x'.* at most 5 in one call: give"):
            call(X)
    same(stream.run(X[:, 1:]), Y[:, 1:])


def test_outputs_without_an_axis_of_time():
    layer = layers.model(flags={"return_state": True}).layer
    want, last = layers.steps(X)
    y, h = layer(X)
    same(y, want)
    same(h, last)
    with pytest.raises(rt.SignatureError, match="time 0; expected at least 1 step in 'x'"):
        layer.model(X[:, :0])


def closing(streams):
    """A model whose chunks of four close the streams of a list."""
    driver = rows.driver()
    good = driver.functions["chunk_b2_t4"]

    def call(x, h):
        for stream in streams:
            stream.close()
        return good(x, h)

    driver.functions["chunk_b2_t4"] = call
    return rt.load(rows.artifact(), device=driver)


def test_a_session_that_is_closed_during_a_chunk():
    streams = []
    stream = closing(streams).session(batch=2)
    streams.append(stream)
    same(stream.run(X[:, :4]), Y[:, :4])
    assert stream._buffers is None
    with pytest.raises(rt.StateError, match="this session was closed; open another"):
        stream.run(X)


def test_a_step_waits_while_weights_are_replaced(monkeypatch):
    model = rows.model()
    stream, begun, go = model.session(batch=2), threading.Event(), threading.Event()
    bind = stream._bind

    def slow(runner):
        begun.set()
        go.wait(10)
        bind(runner)

    monkeypatch.setattr(stream, "_bind", slow)
    thread = threading.Thread(target=model.set_weights, args=(model.get_weights(),))
    thread.start()
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    same(stream.step(X[:, 0]), Y[:, 0])
    thread.join(10)
    assert stream._runner is model.runner()


class Busy:
    """A lock that another thread gives back at the third try."""

    def __init__(self):
        self.tries = 0

    def acquire(self, wait=True):
        self.tries += 1
        return self.tries > 2

    def release(self):
        self.tries = 0


def test_a_call_that_has_just_ended_is_no_misuse(monkeypatch):
    stream = rows.model().session(batch=2)
    monkeypatch.setattr(stream, "_busy", Busy())
    same(stream.step(X[:, 0]), Y[:, 0])


def test_a_device_whose_loss_is_told_late():
    model = rows.model()
    old = model.runner()
    model.lost(old)
    stream = model.session(batch=2)
    same(stream.step(X[:, 0]), Y[:, 0])
    new = model.runner()
    model.lost(old)  # by a call that began before
    assert model.runner() is new
    same(stream.step(X[:, 1]), Y[:, 1])


def slow_to_load(before):
    """A model that does something before it loads again, its driver, and how often it has."""
    driver = rows.driver()
    model = rt.load(rows.artifact(), device=driver)
    model.runner()
    load = driver.load

    def wrapped(*arguments):
        before()
        return load(*arguments)

    driver.load = wrapped
    return model, driver


def test_weights_replaced_while_the_device_is_lost():
    once = []

    def lose():
        if not once:
            once.append(1)
            model.lost(model.runner())

    model, driver = slow_to_load(lose)
    stream, loads = model.session(batch=2), driver.loads
    twice = {"kernel": 2 * tiny.KERNEL}
    model.set_weights(twice)
    np.testing.assert_array_equal(model.get_weights()["kernel"], twice["kernel"])
    with pytest.raises(rt.StateError, match="the device of this session was lost"):
        stream.step(X[:, 0])
    stream.reset()
    same(stream.step(X[:, 0]), Y[:, 0])
    assert driver.loads == loads + 2


def test_threads_load_a_lost_device_once():
    model, driver = slow_to_load(lambda: time.sleep(0.05))
    model.lost(model.runner())
    loads, found, barrier = driver.loads, [], threading.Barrier(4)

    def use():
        barrier.wait(10)
        found.append(model.runner())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(map(id, found))) == 1 and len(found) == 4
    assert driver.loads == loads + 1


def test_rows_are_freed_once_and_old_news_is_no_news():
    model = rows.model()
    batcher = model.batcher(max_streams=2)
    stream = batcher.stream()
    for _ in range(2):
        batcher.leave(stream.row)
    assert sorted(batcher._free) == [0, 1]
    runner = batcher._store.runner
    other = rows.model().runner()
    batcher.adopt(other, other)
    assert batcher._store.runner is runner
    session = model.session(batch=2)
    session.adopt(other, other)
    assert session._runner is runner
    same(session.step(X[:, 0]), Y[:, 0])


def test_a_task_cancelled_before_a_thread_was_free():
    async def main():
        model = rows.model()
        stream, gate = model.session(batch=2), threading.Event()
        for _ in range(4):
            model.executor().submit(gate.wait, 10)
        task = asyncio.create_task(stream.astep(X[:, 0]))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        same(await stream.astep(X[:, 0]), Y[:, 0])  # the cancelled step was not done

    asyncio.run(main())


def widths():
    """A program whose chunks have a size that its states lack; `y` is `x`."""
    none = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    call = rt.tree_of({"args": (0,), "kwargs": {}})[0]
    x, y = (rt.Leaf(name, ("batch", "time", "width"), "float32") for name in "xy")
    sizes = [{"batch": 1, "time": 1, "width": width} for width in (3, 5)]
    chunks = tuple(rt.Function(f"chunk_{n['width']}", n) for n in sizes)
    init = rt.Function("init", {"batch": 1})
    entries = (
        rt.Entry("chunk", "module", (x,), call, (y,), {"leaf": 0}, chunks),
        rt.Entry("init", "module", (), none, (), {"tuple": []}, (init,)),
    )
    dims = (rt.Dim("batch", (1,)), rt.Dim("time", None), rt.Dim("width", (3, 5)))
    manifest = tiny.manifest(entries=entries, default_entry="chunk", dims=dims, weights=(),
                             states=(rt.Leaf("h", ("batch", 3), "float32"),))  # fmt: skip
    functions = {"init": lambda: [np.zeros((1, 3))]}
    functions |= {f.symbol: lambda x, h: [x, h + 1] for f in chunks}
    return rt.load(rt.container_bytes(rt.pack(manifest, {})), device=rt.FakeDriver(functions))


def test_a_step_of_a_size_that_sessions_do_not_choose():
    stream = widths().session(batch=1)
    taken = next(w for w in (3, 5) if stream._step_specs[0][1] == (1, w))
    other = 8 - taken
    with pytest.raises(rt.SignatureError, match=rf"has shape \[1, {other}\]; a step takes \[1, "
                       rf"{taken}\]"):  # fmt: skip
        stream.step(np.zeros((1, other), np.float32))
    assert stream.states["h"].tolist() == [[0, 0, 0]]
    x = np.ones((1, other), np.float32)
    assert stream.run(x[:, None]).shape == (1, 1, other)
    assert stream.states["h"].tolist() == [[1, 1, 1]]


def test_sizes_of_a_program_without_a_batch():
    none = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    call = rt.tree_of({"args": (0,), "kwargs": {}})[0]
    x = rt.Leaf("x", ("time", 3), "float32")
    entries = (
        rt.Entry("chunk", "module", (x,), call, (x,), {"leaf": 0},
                 (rt.Function("chunk", {"time": 1}),)),
        rt.Entry("init", "module", (), none, (), {"tuple": []}, (rt.Function("init", {}),)),
    )  # fmt: skip
    manifest = tiny.manifest(entries=entries, default_entry="chunk", weights=(),
                             dims=(rt.Dim("time", None),),
                             states=(rt.Leaf("h", (3,), "float32"),))  # fmt: skip
    functions = {"init": lambda: [np.zeros(3)], "chunk": lambda x, h: [x + h, h + 1]}
    model = rt.load(rt.container_bytes(rt.pack(manifest, {})), device=rt.FakeDriver(functions))
    with pytest.raises(rt.ArgumentError, match="batch=2: this program has no dim 'batch'; its sta"):
        model.session(batch=2)
    assert model.session().run(np.zeros((3, 3), np.float32))[:, 0].tolist() == [0, 1, 2]


def test_gradients_of_a_program():
    call = rt.tree_of({"args": (0,), "kwargs": {COTANGENTS: 1}})[0]
    x, d = rt.Leaf("x", (3,), "float32"), rt.Leaf("d", (), "float32")
    outputs = (rt.Leaf("y", (), "float32"), rt.Leaf("dx", (3,), "float32"))
    tree = {"tuple": [{"leaf": 0}, {"leaf": 1}]}
    function = (rt.Function("gradients", {}),)
    entry = rt.Entry("gradients", "module", (x, d), call, outputs, tree, function)
    manifest = tiny.manifest(entries=(entry,), default_entry="gradients", dims=(), states=(),
                             weights=())  # fmt: skip
    driver = rt.FakeDriver({"gradients": lambda x, d: [(x**2).sum(), 2 * x * d]})
    model = rt.load(rt.container_bytes(rt.pack(manifest, {})), device=driver)
    y, dx = model.gradients(X[0, 0])
    same(y, (X[0, 0] ** 2).sum())
    same(dx, 2 * X[0, 0])
    same(model.gradients(X[0, 0], cotangents=np.float32(3))[1], 6 * X[0, 0])


def test_layers_with_one_input_in_a_list_and_no_stored_states():
    layer = layers.model().layer
    same(layer([X]), layers.steps(X)[0])
    with pytest.raises(rt.LayerAttributeError, match="`memory` must be stateful: make it with"):
        layer.reset_states()
    ones = np.ones((2, 3), int)
    with pytest.raises(rt.RecurrentIreeError, match="int64"):
        layer(X, initial_state=ones)
    with pytest.raises(rt.RecurrentIreeError, match="masked array"):
        layer(X, initial_state=np.ma.masked_array(ones))
