"""Streams of a batcher when calls fail, devices are lost, and things are closed."""

import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import rows

RNG = np.random.default_rng(1)
X = RNG.standard_normal((7, 9, 3)).astype(np.float32)
Y, H = rows.steps(X)


@pytest.fixture
def model():
    return rows.model()


def failing(error):
    """A model whose step fails while `fail[0]`."""
    driver, fail = rows.driver(), [False]

    def wrap(good):
        def call(*arrays):
            if fail[0]:
                raise error
            return good(*arrays)

        return call

    for size in (1, 2):
        name = f"chunk_b{size}_t1"
        driver.functions[name] = wrap(driver.functions[name])
    return rt.load(rows.artifact(), device=driver), fail


def test_a_failed_call_loses_only_what_was_on_the_device():
    model, fail = failing(rt.DeviceError("out of memory"))
    batcher = model.batcher(max_streams=3)
    a, b, c = (batcher.stream() for _ in range(3))
    for stream, i in ((a, 0), (b, 1), (c, 2)):
        stream.step(X[i, 0])
    fail[0] = True
    with pytest.raises(rt.DeviceError, match="out of memory"):
        batcher.step([a, b], X[:2, 1])
    with pytest.raises(rt.DeviceError, match="out of memory"):
        batcher.step([a, b], X[:2, 1])
    fail[0] = False
    np.testing.assert_allclose(batcher.step([a, b], X[:2, 1]), Y[:2, 1], rtol=1e-6)
    fail[0] = True
    with pytest.raises(rt.DeviceError, match="out of memory"):
        batcher.step([a, b], X[:2, 2])
    fail[0] = False
    for use in (lambda: a.step(X[0, 2]), lambda: a.states):
        with pytest.raises(rt.StateError, match=r"the state of this stream was lost.*reset\(\)"):
            use()
    np.testing.assert_allclose(c.step(X[2, 1]), Y[2, 1], rtol=1e-6)
    a.reset()
    np.testing.assert_allclose(a.step(X[0, 0]), Y[0, 0], rtol=1e-6)


def test_a_lost_device():
    model, fail = failing(rt.DeviceLostError("the device was lost"))
    batcher = model.batcher(max_streams=3)
    a, b = batcher.stream(), batcher.stream()
    a.step(X[0, 0])
    b.step(X[1, 0])
    fail[0] = True
    with pytest.raises(rt.DeviceLostError):
        b.step(X[1, 1])
    fail[0] = False
    np.testing.assert_allclose(a.step(X[0, 1]), Y[0, 1], rtol=1e-6)
    with pytest.raises(rt.StateError, match="was lost"):
        b.step(X[1, 1])
    b.set_states({"h": rows.steps(X[1:2, :1])[1][0]})
    np.testing.assert_allclose(b.step(X[1, 1]), Y[1, 1], rtol=1e-6)
    model.lost(model.runner())
    with pytest.raises(rt.StateError, match="was lost"):
        b.step(X[1, 2])


def test_closed_batchers_and_models(model):
    batcher, other = model.batcher(max_streams=2), model.batcher(max_streams=2)
    a, b = batcher.stream(), other.stream()
    batcher.close()
    for use in (lambda: a.step(X[0, 0]), batcher.stream, a.reset, lambda: a.states):
        with pytest.raises(rt.StateError, match="this batcher was closed; make another"):
            use()
    a.close()
    b.step(X[0, 0])
    model.close()
    with pytest.raises(rt.StateError, match="closed"):
        b.step(X[0, 0])


def test_closing_while_steps_wait():
    driver, inside, gate = rows.driver(), threading.Event(), threading.Event()
    good = driver.functions["chunk_b1_t1"]

    def slow(*arrays):
        inside.set()
        gate.wait(10)
        return good(*arrays)

    driver.functions["chunk_b1_t1"] = slow
    batcher = rt.load(rows.artifact(), device=driver).batcher(max_streams=2)
    streams, errors = [batcher.stream(), batcher.stream()], []

    def work(i):
        try:
            streams[i].step(X[i, 0])
        except rt.StateError as error:
            errors.append((i, str(error)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    while not batcher._queue:
        time.sleep(0.001)
    batcher.close()
    gate.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert [i for i, _ in errors] == [1] and "closed" in errors[0][1]


def test_an_interrupted_thread_leaves_no_one_waiting():
    driver = rows.driver()
    good, interrupt = driver.functions["chunk_b1_t1"], [True]

    def call(*arrays):
        if interrupt.pop() if interrupt else False:
            raise KeyboardInterrupt
        return good(*arrays)

    driver.functions["chunk_b1_t1"] = call
    batcher = rt.load(rows.artifact(), device=driver).batcher(max_streams=1)
    stream = batcher.stream()
    with pytest.raises(KeyboardInterrupt):
        stream.step(X[0, 0])
    np.testing.assert_allclose(stream.step(X[0, 0]), Y[0, 0], rtol=1e-6)


def test_abandoned(model):
    batcher = model.batcher(max_streams=1)
    stream = batcher.stream()
    batcher.abandon("the process was forked")
    with pytest.raises(rt.StateError, match="forked"):
        stream.step(X[0, 0])
