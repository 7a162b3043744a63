"""Small parts that larger tests do not reach: what else an argument, a machine or a key may be."""

import asyncio
import sys
import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _cpu, _dtypes, _versions
from recurrent_iree_runtime._cli import main
from recurrent_iree_runtime._fits import fitting
from recurrent_iree_runtime._samples import sample_inputs
from runtime import rows, tiny

F32, I32 = np.dtype(np.float32), np.dtype(np.int32)
GOOD = (np.zeros((2, 3), F32), np.zeros(2, I32))


def changed(array):
    """Arrays that are not what `array` is."""
    return (
        array.astype(np.float64),
        array.astype(array.dtype.newbyteorder()),
        array[:1],
        array[None],
        np.ma.masked_array(array),
        array.tolist(),
        None,
    )


def test_what_fits():
    one, two = fitting([(F32, (2, 3))]), fitting([(F32, (2, 3)), (I32, (2,))])
    assert one(GOOD[:1]) and two(GOOD)
    assert not one(GOOD) and not two(GOOD[:1]) and not one(())
    for wrong in (*changed(GOOD[0]), np.zeros((3, 2), F32).T, np.zeros((2, 6), F32)[:, ::2]):
        assert not one([wrong]) and not two([wrong, GOOD[1]])
    for wrong in (*changed(GOOD[1]), np.zeros(4, I32)[::2]):
        assert not two([GOOD[0], wrong])


def test_the_version_without_metadata(monkeypatch):
    def missing(name):
        raise _versions.PackageNotFoundError(name)

    here = rt.iree_version()
    monkeypatch.setattr(_versions, "version", missing)
    assert _versions.iree_version().startswith(here.partition("rc")[0])


def test_unknown_dtypes():
    with pytest.raises(rt.ArgumentError, match="dtype 'float31' is not known; expected one of"):
        _dtypes.dtype_of("float31")


def test_inputs_to_try_an_entry_with():
    for golden in (True, False):
        data = tiny.artifact() if golden else rows.artifact()
        artifact = rt.read(data)
        entry = artifact.manifest.entry("chunk")
        assert entry is not None
        arrays = sample_inputs(artifact, entry)
        assert [a.dtype.name for a in arrays] == [leaf.dtype for leaf in entry.inputs]
        assert all(a.size for a in arrays)
    pair = rt.read(rows.artifact()).manifest.entry("pair")
    assert pair is not None
    kinds = {a.dtype.kind for a in sample_inputs(rt.read(rows.artifact()), pair)}
    assert kinds >= {"f", "b", "i"}


def test_keys_of_another_kind(tmp_path):
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
    )
    (tmp_path / "key").write_bytes(key)
    with pytest.raises(rt.ArgumentError, match="is a key of another kind; Ed25519 is needed"):
        rt.sign(tiny.artifact(), tmp_path / "key")


def test_an_interrupted_command(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("recurrent_iree_runtime._cli.parser", lambda: Parsed(interrupt))
    assert main(["devices"]) == 130
    assert "interrupted" in capsys.readouterr().err


class Parsed:
    """A parser whose command is a function."""

    def __init__(self, function):
        self.function = function

    def parse_args(self, arguments):
        return self


def test_systems_that_tell_nothing_of_their_processor(monkeypatch):
    for platform, text in (("darwin", ""), ("linux", None)):
        _cpu.host_features.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", platform)
            if text is None:

                def refuse(*args, **kwargs):
                    raise PermissionError

                patch.setattr(_cpu.Path, "read_text", refuse)
            assert _cpu.host_features() is None
    _cpu.host_features.cache_clear()
    assert _cpu.parse_cpuinfo("model name : x\n", "x86_64") == _cpu.parse_cpuinfo("", "x86_64")


def test_what_things_are_called():
    model = rows.model()
    with model.session(batch=2) as stream, model.batcher(max_streams=3) as batcher:
        assert "batch=2" in repr(stream)
        assert "0 of 3 streams" in repr(batcher)
        with batcher.stream() as one:
            assert repr(one).startswith("<Stream 0 of <Batcher")
        assert "closed" in repr(one)
    state = model.initial_state(batch=1)
    assert "consumed" not in repr(state)
    model.advance(state, np.zeros((1, 2, 3), np.float32))
    assert "consumed" in repr(state)


def test_the_last_step_that_is_waited_for_ends_the_wait():
    batcher = rows.model().batcher(max_streams=2, max_wait=30)
    streams = [batcher.stream(), batcher.stream()]
    threads = [threading.Thread(target=s.step, args=(np.zeros(3, np.float32),)) for s in streams]
    start = time.monotonic()
    threads[0].start()
    time.sleep(0.05)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - start < 15


def test_a_task_whose_model_closes_as_it_steps(monkeypatch):
    async def main():
        model = rows.model()
        stream = model.batcher(max_streams=1).stream()
        x = np.zeros(3, np.float32)
        with monkeypatch.context() as patch:

            def closed():
                raise rt.StateError("the model was closed")

            patch.setattr(model, "executor", closed)
            with pytest.raises(rt.StateError, match="was closed"):
                await stream.astep(x)
        await stream.astep(x)  # nothing is left of the step before

    asyncio.run(main())


def test_a_loop_that_ends_before_its_step():
    driver, gate = rows.driver(), threading.Event()
    good = driver.functions["chunk_b1_t1"]

    def slow(*arrays):
        gate.wait(10)
        return good(*arrays)

    driver.functions["chunk_b1_t1"] = slow
    model = rt.load(rows.artifact(), device=driver)
    stream = model.batcher(max_streams=1).stream()
    x = np.ones(3, np.float32)

    async def leaves():
        task = asyncio.create_task(stream.astep(x))
        await asyncio.sleep(0.02)
        task.cancel()

    async def goes_on():
        asyncio.get_running_loop().call_later(0.05, gate.set)
        return await stream.astep(x)

    asyncio.run(leaves())
    y = rows.steps(np.ones((1, 2, 3), np.float32))[0]
    np.testing.assert_allclose(asyncio.run(goes_on()), y[0, 1], rtol=1e-6)
