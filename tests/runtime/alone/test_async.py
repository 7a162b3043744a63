"""asyncio: the loop goes on during a step, one step at a time, cancelled steps leave no mess."""

import asyncio
import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import rows

RNG = np.random.default_rng(3)
X = RNG.standard_normal((6, 7, 3)).astype(np.float32)
Y = rows.steps(X)[0]


def gated():
    """A model whose steps wait for a gate, and the gate."""
    driver, gate = rows.driver(), threading.Event()
    for size in (1, 2):
        name = f"chunk_b{size}_t1"
        good = driver.functions[name]

        def call(x, h, good=good):
            gate.wait(10)
            return good(x, h)

        driver.functions[name] = call
    return rt.load(rows.artifact(), device=driver), gate


async def ticks_until(task):
    count = 0
    while not task.done():
        await asyncio.sleep(0.001)
        count += 1
    return count


def test_steps_and_chunks():
    async def main():
        stream = rows.model().session(batch=2)
        for t in range(3):
            np.testing.assert_allclose(await stream.astep(X[:2, t]), Y[:2, t], rtol=1e-6)
        np.testing.assert_allclose(await stream.arun(X[:2, 3:]), Y[:2, 3:], rtol=1e-6)
        with pytest.raises(rt.SignatureError):
            await stream.astep(X[:1, 0])

    asyncio.run(main())


def test_the_loop_goes_on():
    async def main():
        model, gate = gated()
        stream = model.session(batch=2)
        task = asyncio.create_task(stream.astep(X[:2, 0]))
        asyncio.get_running_loop().call_later(0.1, gate.set)
        assert await ticks_until(task) > 1
        np.testing.assert_allclose(await task, Y[:2, 0], rtol=1e-6)

    asyncio.run(main())


def test_one_task_at_a_time():
    async def main():
        model, gate = gated()
        batcher = model.batcher(max_streams=2)
        for stream, x in ((model.session(batch=2), X[:2, 0]), (batcher.stream(), X[0, 0])):
            gate.clear()
            task = asyncio.create_task(stream.astep(x))
            await asyncio.sleep(0.01)
            with pytest.raises(rt.StateError, match="another task waits for a step"):
                await stream.astep(x)
            gate.set()
            await task

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["session", "stream"])
def test_a_cancelled_step_is_done_as_a_whole(kind):
    async def main():
        model, gate = gated()
        one = kind == "session"
        stream = model.session(batch=1) if one else model.batcher(max_streams=1).stream()
        at = (lambda t: X[:1, t]) if one else (lambda t: X[0, t])
        task = asyncio.create_task(stream.astep(at(0)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asyncio.get_running_loop().call_later(0.02, gate.set)
        got = await stream.astep(at(1))
        np.testing.assert_allclose(got, Y[:1, 1] if one else Y[0, 1], rtol=1e-6)

    asyncio.run(main())


def test_a_step_cancelled_before_its_turn_is_not_done():
    async def main():
        model, gate = gated()
        batcher = model.batcher(max_streams=2)
        first, second = batcher.stream(), batcher.stream()
        running = asyncio.create_task(first.astep(X[0, 0]))
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(second.astep(X[1, 0]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        np.testing.assert_allclose(await second.astep(X[1, 0]), Y[1, 0], rtol=1e-6)
        np.testing.assert_allclose(await running, Y[0, 0], rtol=1e-6)

    asyncio.run(main())


def test_a_cancelled_step_that_fails_says_so_at_the_next():
    async def main():
        driver, gate = rows.driver(), threading.Event()

        def fails(*arrays):
            gate.wait(10)
            raise rt.DeviceError("out of memory")

        driver.functions["chunk_b1_t1"] = fails
        stream = rt.load(rows.artifact(), device=driver).session(batch=1)
        task = asyncio.create_task(stream.astep(X[:1, 0]))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        asyncio.get_running_loop().call_later(0.02, gate.set)
        with pytest.raises(rt.StateError, match="was lost in a call that failed"):
            await stream.astep(X[:1, 1])

    asyncio.run(main())


def test_many_tasks_and_threads_share_a_batcher():
    batcher, failures = rows.model().batcher(max_streams=6), []

    async def task(i):
        with batcher.stream() as stream:
            for t in range(7):
                if not np.allclose(await stream.astep(X[i, t]), Y[i, t], rtol=1e-5, atol=1e-6):
                    failures.append(i)

    def thread(i):
        with batcher.stream() as stream:
            for t in range(7):
                if not np.allclose(stream.step(X[i, t]), Y[i, t], rtol=1e-5, atol=1e-6):
                    failures.append(i)

    async def main():
        for _ in range(5):
            threads = [threading.Thread(target=thread, args=(i,)) for i in range(3, 6)]
            for one in threads:
                one.start()
            await asyncio.gather(*[task(i) for i in range(3)])
            for one in threads:
                await asyncio.to_thread(one.join, 10)

    asyncio.run(main())
    assert not failures and batcher.streams == 0


def test_errors_reach_the_task():
    async def main():
        driver = rows.driver()

        def fails(*arrays):
            raise rt.DeviceError("out of memory")

        driver.functions["chunk_b1_t1"] = fails
        stream = rt.load(rows.artifact(), device=driver).batcher(max_streams=1).stream()
        for _ in range(2):
            with pytest.raises(rt.DeviceError, match="out of memory"):
                await stream.astep(X[0, 0])

    asyncio.run(main())


def test_after_closing():
    async def main():
        model = rows.model()
        stream, other = model.session(batch=1), model.batcher(max_streams=1).stream()
        await stream.astep(X[:1, 0])
        await other.astep(X[0, 0])
        model.close()
        for use in (lambda: stream.astep(X[:1, 0]), lambda: other.astep(X[0, 0])):
            with pytest.raises(rt.StateError, match="closed"):
                await use()
        with pytest.raises(rt.StateError, match="closed"):
            model.executor()

    asyncio.run(main())


def test_closing_waits_for_no_one():
    async def main():
        model, gate = gated()
        stream = model.session(batch=1)
        task = asyncio.create_task(stream.astep(X[:1, 0]))
        await asyncio.sleep(0.02)
        start = time.monotonic()
        model.close()
        assert time.monotonic() - start < 1
        gate.set()
        await task

    asyncio.run(main())
