"""The IREE driver by itself, on the file of the tests: odd states, functions and machines."""

import ctypes
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _placement, _profile
from recurrent_iree_runtime._drivers import _iree_devices, _iree_wait
from recurrent_iree_runtime._drivers._base import ArraySpec, Signature
from recurrent_iree_runtime._drivers._iree import IreeDriver
from recurrent_iree_runtime._drivers._iree_arrays import element_type_of
from recurrent_iree_runtime._dtypes import dtype_of
from recurrent_iree_runtime._runner import signature_of
from recurrent_iree_runtime._variants import choose_device
from runtime import tiny

FILE = Path(__file__).resolve().parents[1] / "data" / "tiny.riree"
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 4, 3)
PAIR = [np.float32([1, 2]), np.array([True, False]), np.int32([3, 4])]
pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
    reason="tiny.riree has modules for x86-64 and aarch64 only",
)


def executable(weights=None):
    artifact = rt.read(FILE)
    _, module = choose_device(artifact.manifest, "cpu")
    weights = artifact.weights() if weights is None else weights
    return IreeDriver("cpu", "local-sync").load(module, artifact.read_member, weights)


@pytest.fixture
def loaded():
    made = executable()
    yield made
    made.close()


def of(name, **changes):
    """The signature of the first function of an entry, changed."""
    manifest = rt.read(FILE).manifest
    entry = manifest.entry(name)
    assert entry is not None
    return replace(signature_of(manifest, entry, entry.functions[0]), **changes)


def test_a_module_without_its_weights():
    with pytest.raises(rt.RecurrentIreeError, match="loading the module for .* on local-sync"):
        executable(weights={})


def test_a_function_that_the_module_lacks(loaded):
    with pytest.raises(rt.ArtifactError, match="the module has no function 'nothing'; it was chan"):
        loaded.bind(of("pair", symbol="nothing"))


def test_results_that_are_not_what_the_manifest_says(loaded):
    right = of("pair")
    for shape in ((3,), (2, 1)):
        call = loaded.bind(replace(right, outputs=(ArraySpec(shape, "bool"), right.outputs[1])))
        with pytest.raises(rt.ArtifactError, match=r"gives an array of shape \[2\] and 2 bytes; its"
                           r" manifest says bool.* The artifact is not whole"):  # fmt: skip
            call(PAIR, [])
    assert loaded.bind(right)(PAIR, [])[0][1].tolist() == [4, 5]


def test_states_beside_several_inputs(loaded):
    """A state that is given as an input, too, gives the same function."""
    usual = of("chunk")
    h, n = usual.states_in
    call = loaded.bind(Signature(usual.symbol, (*usual.inputs, h), (n,),
                                 (*usual.outputs, usual.states_out[0]), (n,)))  # fmt: skip
    start = np.float32([[0.5, -0.5, 1]])
    (y, after), states = call([X, start], loaded.to_device([np.array(7, np.int32)], [n]))
    want = tiny.steps(X, start, np.int32(7))
    np.testing.assert_allclose(y, want[0], atol=1e-6)
    np.testing.assert_allclose(after, want[1], atol=1e-6)
    assert loaded.to_host(states, [n])[0] == 11


def test_calls_of_a_closed_executable(loaded):
    call = loaded.bind(of("pair"))
    loaded.close()
    with pytest.raises(rt.StateError, match="the model was closed; load the artifact again"):
        call(PAIR, [])


def test_states_of_any_layout_and_dtype(loaded):
    wide = np.arange(6, dtype=np.float32).reshape(2, 3)
    half = wide.astype(dtype_of("bfloat16"))
    arrays = [wide.T, half, np.array([True, False]), np.zeros((0, 4), np.float32)]
    specs = [ArraySpec(a.shape, a.dtype.name) for a in arrays]
    for array, spec in zip(arrays, specs, strict=True):
        (back,) = loaded.to_host(loaded.to_device([array], [spec]), [spec])
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, array)


def test_dtypes_that_iree_cannot_take():
    with pytest.raises(rt.ArtifactError, match="dtype 'int4' cannot be passed to IREE; give it an"):
        element_type_of("int4")


def test_forgetting_a_device_that_is_not_open():
    before = dict(_iree_devices._devices), list(_iree_devices._lost)
    _iree_devices.forget_device("vulkan://nothing")
    assert (_iree_devices._devices, _iree_devices._lost) == before


def test_a_child_of_a_process_that_opened_no_device():
    code = f"""
import os, sys, recurrent_iree_runtime as rt
child = os.fork()
if child == 0:
    with rt.load({str(FILE)!r}, "cpu:local-task") as model:
        sys.exit(3 if model.verify().ok else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3\n", "")


class Cuda:
    """libcuda, with the answers of its functions."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.cuInit = self.cuDeviceGet = lambda *given: self.statuses.pop(0)

    def cuDeviceGetAttribute(self, place, attribute, device):  # noqa: N802
        place._obj.value = {75: 8, 76: 6}[attribute]
        return self.statuses.pop(0)


def test_what_cuda_says_of_its_device(monkeypatch):
    for statuses, want in (((0, 0, 0, 0), 86), ((100,), None), ((0, 0, 1), None)):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, given=statuses: Cuda(*given))
        assert _iree_devices.cuda_capability(0) == want


def waited():
    """Whether a call runs once, and under which policy."""
    seen = []
    _iree_wait._can_be_patient.cache_clear()
    _iree_wait.wait_patiently(lambda: seen.append(os.sched_getscheduler(0)))
    _iree_wait._can_be_patient.cache_clear()
    return seen


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no SCHED_BATCH")
def test_waiting_on_other_systems_and_under_other_policies(monkeypatch):
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        assert waited() == [os.SCHED_BATCH]
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    monkeypatch.delattr(os, "SCHED_BATCH")
    assert waited() == [os.SCHED_OTHER]


def test_processors_of_systems_that_pin_nothing(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert _placement._cores() == (os.cpu_count() or 1)


def test_a_tool_in_the_second_folder(monkeypatch, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    found = SimpleNamespace(submodule_search_locations=list(map(str, folders)))
    monkeypatch.setattr(_profile.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(rt.MissingPackageError, match="the tool iree-run is missing: prof"):
        _profile.find_tool("iree-run")
    (folders[1] / "iree-run.exe").write_bytes(b"")
    assert _profile.find_tool("iree-run") == folders[1] / "iree-run.exe"
    (folders[1] / "iree-run").write_bytes(b"")
    assert _profile.find_tool("iree-run") == folders[1] / "iree-run"
