"""The committed artifact on IREE's CPU drivers."""

import platform
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import tiny

FILE = Path(__file__).resolve().parents[1] / "data" / "tiny.riree"
X = np.random.default_rng(1).standard_normal((2, 11, 3)).astype(np.float32)
Y, H, N = tiny.steps(X)

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"),
    reason="tiny.riree has modules for x86-64 and aarch64 only",
)


@pytest.fixture(scope="module", params=["cpu", "cpu:local-sync", "cpu:local-task"])
def model(request):
    with rt.load(FILE, request.param) as model:
        yield model


def test_the_file_is_small_and_is_what_the_manifest_module_describes():
    assert FILE.stat().st_size < 100_000
    manifest = rt.read(FILE).manifest
    same = tiny.manifest(manifest.modules, manifest.goldens, members=manifest.members,
                         versions=manifest.versions)  # fmt: skip
    assert manifest == same, "run: python tests/runtime/data/regenerate.py"


def test_whole_chunks_and_steps(model):
    np.testing.assert_allclose(model(X), Y, atol=1e-6)
    stream = model.session(batch=2)
    steps = np.stack([stream.step(X[:, t]) for t in range(11)], axis=1)
    np.testing.assert_allclose(steps, Y, atol=1e-6)
    assert stream.states["n"] == 11
    stream.reset()
    np.testing.assert_array_equal(stream.run(X), model(X))
    np.testing.assert_allclose(stream.states["h"], H, atol=1e-6)


def test_every_dtype_and_a_passed_through_input(model):
    a, m, k = np.float32([1, 2]), np.array([True, False]), np.int32([3, 4])
    for _ in range(2):
        result = model.run("pair", {"a": a, "m": m}, k=k)
        assert result["any"].tolist() == [False, True] and result["any"].dtype == np.bool_
        assert result["sum"][0].tolist() == [4, 5]
        assert result["a"].tolist() == [1, 2]


def test_verify(model):
    report = model.verify()
    assert report.ok, report
    report.raise_if_failed()


def test_results_are_not_views_of_the_device(model):
    stream = model.session(batch=1)
    first = stream.step(X[:1, 0])
    kept, states = first.copy(), stream.states
    before = states["h"].copy()
    for t in range(1, 11):
        stream.step(X[:1, t])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(states["h"], before)
    assert first.flags.owndata and first.flags.writeable


def test_inputs_are_not_changed(model):
    x = X.copy()
    model(x)
    model.session(batch=2).run(x)
    np.testing.assert_array_equal(x, X)


def test_clone_and_set_states(model):
    stream = model.session(batch=2)
    stream.run(X[:, :6])
    other, kept = stream.clone(), stream.states
    stream.run(X)
    np.testing.assert_allclose(other.run(X[:, 6:]), Y[:, 6:], atol=1e-6)
    stream.set_states(kept)
    np.testing.assert_allclose(stream.run(X[:, 6:]), Y[:, 6:], atol=1e-6)


def test_other_weights(model, tmp_path):
    twice = 2 * tiny.KERNEL
    path = tmp_path / "w.safetensors"
    path.write_bytes(rt.write_safetensors({"kernel": twice}))
    for weights in ({"kernel": twice}, path):
        with rt.load(FILE, "cpu", weights=weights) as other:
            got = other(X[:, :1])[:, 0]
            np.testing.assert_allclose(got, np.tanh(X[:, 0] @ twice), atol=1e-6)
    np.testing.assert_allclose(model(X), Y, atol=1e-6)


WEIGHTS = [
    ({}, "has no array 'kernel'"),
    ({"kernel": tiny.KERNEL, "b": tiny.KERNEL}, "the array 'b', which the program does not use"),
    ({"kernel": tiny.KERNEL[:2]}, r"float32\[2, 3\]; the program needs float32\[3, 3\]"),
    ({"kernel": tiny.KERNEL.astype(float)}, r"is float64\[3, 3\]"),
    ("none.safetensors", "cannot be read: No such file"),
]


@pytest.mark.parametrize("weights, message", WEIGHTS)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(rt.ArtifactError, match=message):
        rt.load(FILE, "cpu", weights=weights)
    with pytest.raises(rt.ArgumentTypeError, match="weights is a int"):
        rt.load(FILE, "cpu", weights=3)  # pyright: ignore[reportArgumentType]


def test_the_reason_of_the_choice():
    with rt.load(FILE) as model:
        assert model.device.name == "cpu"
        assert "the first of cuda, hip, metal, vulkan, cpu" in model.device.reason
        assert "stream: local-sync, small work (18 flop)" in model.device.reason
    with rt.load(FILE, "cpu:local-task") as model:
        assert model.device.reason.startswith("asked for; runs the module 'cpu:")


def test_threads_share_a_model(model):
    failures = []

    def work(seed):
        x = np.random.default_rng(seed).standard_normal((1, 20, 3)).astype(np.float32)
        want = tiny.steps(x)[0]
        with model.session(batch=1) as stream:
            for _ in range(5):
                stream.reset()
                got = np.stack([stream.step(x[:, t]) for t in range(20)], 1)
                if not np.allclose(got, want, atol=1e-6):
                    failures.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def python(code):
    """Run code in a process of its own; the exit status and what it printed."""
    text = f"import numpy as np, recurrent_iree_runtime as rt\nFILE = {str(FILE)!r}\n"
    text += "X = np.ones((1, 3), np.float32)\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("device", ["cpu:local-sync", "cpu:local-task"])
def test_the_process_ends_well_with_open_sessions(device):
    code = f"""
    model = rt.load(FILE, {device!r})
    stream, state = model.session(batch=1), model.initial_state(batch=1)
    stream.step(X)
    other = [stream, stream.clone()]
    print("done")
    """
    assert python(code) == (0, "done\n")


@pytest.mark.parametrize("device", ["cpu:local-sync", "cpu:local-task"])
def test_a_forked_child_refuses_and_may_load_again(device):
    code = f"""
    import os, sys
    model = rt.load(FILE, {device!r})
    stream = model.session(batch=1)
    want = stream.step(X).tolist()
    child = os.fork()
    if child == 0:
        good = 0
        for use in (lambda: stream.step(X), lambda: model(X[None]), model.verify):
            try:
                use()
            except rt.StateError as error:
                good += "before this process was forked" in str(error)
        try:
            again = rt.load(FILE, {device!r}).session(batch=1)
        except rt.DeviceError as error:
            assert "spawn" in str(error) and {device!r} == "cpu:local-task"
            again = rt.load(FILE, "cpu").session(batch=1)
        good += again.step(X).tolist() == want
        sys.exit(good)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), stream.step(X).shape)
    """
    assert python(code) == (0, "4 (1, 3)\n")


def test_loading_many_times_keeps_memory(tmp_path):
    code = """
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    def once():
        with rt.load(FILE, "cpu") as model, model.session(batch=1) as stream:
            stream.step(X)
    for _ in range(30): once()
    before = resident()
    for _ in range(100): once()
    print(resident() - before < 4 << 20)
    """
    assert python(code) == (0, "True\n")
