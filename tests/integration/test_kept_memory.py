"""Memory that a device keeps between calls: the same numbers, bounded, given back in the end."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_runtime._drivers._iree_devices import open_device
from recurrent_iree_runtime._drivers._iree_memory import KEEPING, keeping

T, D, H = 20, 8, 32
DEVICES = ["cpu:local-sync", "cpu:local-task"]


@pytest.fixture(scope="module")
def data() -> bytes:
    layer = ri.layers.SimpleRNN(H, return_sequences=True, name="rnn")
    spec = ri.spec("batch=2|5", f"time={T}", D)
    return ri.compile(layer, spec, entry=["sequence", "gradients"], targets=["cpu"]).to_bytes()


def arguments(batch: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = (batch, T, D), (batch, T, H)
    x, cotangents = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, cotangents


def gradients(model: rt.Model, batch: int, seed: int = 0) -> list[np.ndarray]:
    x, cotangents = arguments(batch, seed)
    found = model.gradients(x, cotangents=cotangents)
    return [found.outputs, *found.inputs, *found.weights.values()]


def held(device: str) -> int:
    """Bytes that the device which keeps memory has allocated and not given back."""
    allocator: Any = open_device(keeping(device.removeprefix("cpu:"))).device.allocator
    if not allocator.has_statistics:
        pytest.skip("this build of IREE does not count what it allocates")
    counts = allocator.statistics
    return sum(counts[f"{heap}_bytes_allocated"] - counts[f"{heap}_bytes_freed"]
               for heap in ("host", "device"))  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
def test_calls_give_the_same_bits_and_closing_gives_the_memory_back(
    device: str, data: bytes
) -> None:
    with rt.load(data, device, keep_memory=False) as plain:
        want = {(b, s): gradients(plain, b, s) for b in (2, 5) for s in range(3)}
    before = held(device)
    with rt.load(data, device) as one, rt.load(data, device) as other:
        for (batch, seed), values in want.items():
            for model in (one, other):
                for a, b in zip(gradients(model, batch, seed), values, strict=True):
                    np.testing.assert_array_equal(a, b)
        kept = held(device)
        assert kept > before
        for seed in range(3):
            gradients(one, 5, seed)
        assert held(device) == kept
        other.close()
        gradients(one, 5)
        one.set_weights({k: w + 1 for k, w in one.get_weights().items()})
        gradients(one, 5)
    assert held(device) == before


def test_a_model_that_is_dropped_gives_it_back(data: bytes) -> None:
    before = held("local-sync")
    model = rt.load(data, "cpu:local-sync")
    gradients(model, 5)
    stream = model.session(batch=2)
    del model, stream
    assert held("local-sync") == before


def test_small_calls_without_gradients_keep_no_memory_unless_asked() -> None:
    layer = ri.layers.SimpleRNN(H, return_sequences=True, name="rnn")
    data = ri.compile(layer, ri.spec("batch=2", f"time={T}", D), targets=["cpu"]).to_bytes()
    x, before = arguments(2)[0], held("local-sync")
    for asked, keeps in ((None, False), (False, False), (True, True)):
        with rt.load(data, "cpu:local-sync", keep_memory=asked) as model:
            model(x)
            assert (held("local-sync") > before) is keeps


def test_the_limit_is_that_of_the_documentation() -> None:
    assert KEEPING == ("caching:*=512mib;512mib;64",)
    assert "512 MiB" in (rt.load.__doc__ or "")


def run(code: str, data: bytes, folder: Path) -> str:
    path = folder / "model.riree"
    path.write_bytes(data)
    head = f"""
    import os, sys
    import numpy as np
    import recurrent_iree_runtime as rt
    FILE, T, D, H = {str(path)!r}, {T}, {D}, {H}
    def use(model, batch):
        x, d = np.ones((batch, T, D), np.float32), np.ones((batch, T, H), np.float32)
        return model.gradients(x, cotangents=d).inputs[0]
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_forked_child_has_memory_of_its_own(data: bytes, tmp_path: Path) -> None:
    code = """
    model = rt.load(FILE, "cpu:local-sync")
    want = use(model, 5)
    child = os.fork()
    if child == 0:
        for _ in range(3):
            with rt.load(FILE, "cpu:local-sync") as again:
                assert np.array_equal(use(again, 5), want)
        del model
        os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, np.array_equal(use(model, 5), want))
    """
    assert run(code, data, tmp_path) == "7 True"


def test_many_loads_and_calls_of_different_sizes_do_not_grow(data: bytes, tmp_path: Path) -> None:
    code = """
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    def once(turn):
        with rt.load(FILE, "cpu:local-sync") as model:
            for i in range(6):
                use(model, (2, 5)[(turn + i) % 2])
    for turn in range(20): once(turn)
    before = resident()
    for turn in range(60): once(turn)
    print(resident() - before < 2 << 20)
    """
    assert run(code, data, tmp_path) == "True"
