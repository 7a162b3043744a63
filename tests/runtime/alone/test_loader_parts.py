"""Parts of an artifact that few artifacts have: what a module lacks, stored weights, odd tables."""

import json

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _devices, _variants
from recurrent_iree_runtime._dtypes import dtype_of
from recurrent_iree_runtime._inspect import inspect_tree
from recurrent_iree_runtime._text import size_text, tree_text
from recurrent_iree_runtime._verify import compare
from runtime import rows, tiny

MEMBER = "modules/cpu.vmfb"
X = np.linspace(-1, 1, 2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
INT8 = {"dtype": "float32", "scale": "kernel.scale", "axes": [1]}
BF16 = {"dtype": "float32", "scale": None, "axes": []}
REPORT = {
    "asked": "int8",
    "kept": {"bias": "it is small"},
    "bytes": 21,
    "bytes in float32": 36,
    "loss": [{"entry": "sequence", "largest error": 0.0123}],
}


def lacking(*symbols, **changes):
    """A module without some functions."""
    return rt.Module(**{"target": "cpu:here", "driver": "cpu", "member": MEMBER,
                        "lacks": symbols, **changes})  # fmt: skip


def test_a_module_without_some_functions():
    module = lacking("chunk_b2_t4", "chunk_b2_t1", "init_b2")
    artifact = rt.read(tiny.artifact([module], {MEMBER: b"code"}))
    assert artifact.seen_by(None) is artifact
    seen = artifact.seen_by(module).manifest
    found = {f.symbol for entry in seen.entries for f in entry.functions}
    assert found == {"chunk_b1_t4", "chunk_b1_t1", "init_b1", "pair"}
    assert len(artifact.manifest.entries[1].functions) == 4
    driver = tiny.fake_driver()
    driver.name = "cpu"
    model = rt.load(artifact, device=driver)
    np.testing.assert_allclose(model(X[:1]), tiny.steps(X[:1])[0], rtol=1e-6)
    with pytest.raises(rt.ArgumentError, match="batch=2 was not compiled; it can be batch=1"):
        model.session(batch=2)


def test_a_module_without_all_functions_of_an_entry():
    module = lacking("init_b1", "init_b2")
    with pytest.raises(rt.NotAnArtifactError, match="lacks leaves the entry 'init' without a func"):
        rt.read(tiny.artifact([module], {MEMBER: b"code"}))


def stored(how, report=None):
    """The bytes of an artifact whose weights are stored in fewer bits."""
    text = json.dumps({"weights": {"kernel": how}})
    int8 = how["scale"] is not None
    weights = [rt.Weight("kernel", (3, 3), "int8" if int8 else "bfloat16")]
    arrays = {"kernel": np.ones((3, 3), np.int8)}
    if int8:
        weights.append(rt.Weight("kernel.scale", (3,), "float32"))
        arrays["kernel.scale"] = np.float32([0.5, 1, 2])
    else:
        arrays["kernel"] = tiny.KERNEL.astype(dtype_of("bfloat16"))
    manifest = tiny.manifest(weights=tuple(weights), metadata={"storage": text, "author": "me"})
    parts = {"weights.safetensors": rt.write_safetensors(arrays)}
    if report is not None:
        parts["report.json"] = report
    return rt.container_bytes(rt.pack(manifest, parts))


@pytest.mark.parametrize("how", [INT8, BF16])
def test_own_weights_for_stored_ones(how):
    model = rt.load(stored(how), device=tiny.fake_driver())
    assert {n: a.dtype.name for n, a in model.get_weights().items()} == {"kernel": "float32"}
    model.set_weights({"kernel": tiny.KERNEL})
    np.testing.assert_allclose(model.get_weights()["kernel"], tiny.KERNEL, atol=0.01)
    kept = model.get_weights()["kernel"]
    for wrong in (np.float32(3), np.zeros(2, np.float32)):
        with pytest.raises(rt.ArtifactError, match="'kernel'"):
            model.set_weights({"kernel": wrong})
    np.testing.assert_array_equal(model.get_weights()["kernel"], kept)


def shown(data):
    return tree_text(inspect_tree(rt.read(data)))


def test_inspect_shows_how_weights_are_stored():
    text = shown(stored(INT8, json.dumps({"program": {"storage": REPORT}}).encode()))
    assert "kernel: int8[3, 3]  (callers see float32)" in text
    assert "kernel.scale: float32[3]  (the scales of kernel)" in text
    assert "stored as int8, measured against float32" in text
    assert "bias is kept: it is small" in text
    assert "21 B instead of 36 B in float32" in text
    assert "entry sequence, largest error 0.0123" in text
    assert "author: me" in text and "storage:" not in text


@pytest.mark.parametrize(
    "report", [None, b"{}", b"no json", b"[]", b'{"program":{"storage":{"kept":3}}}']
)
def test_inspect_without_a_measured_loss(report):
    text = shown(stored(BF16, report))
    assert "kernel: bfloat16[3, 3]  (callers see float32)" in text
    assert "measured against" not in text


def test_inspect_shows_the_edge_of_a_module():
    text = shown(tiny.artifact([lacking(abi={"bool": "int32"})], {MEMBER: b"code"}))
    assert "passes bool as int32" in text and "compiled by" not in text


def test_golden_calls_whose_arrays_are_missing():
    calls = (rt.Golden("pair", {}, ("a", "m", "none"), ("a", "m", "k"), 0.0, 0.0),)
    arrays = tiny.golden()[1]
    parts = {
        "weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL}),
        "golden.safetensors": rt.write_safetensors(arrays),
    }
    data = rt.container_bytes(rt.pack(tiny.manifest(goldens=calls), parts))
    report = rt.load(data, device=tiny.fake_driver()).verify()
    assert not report.ok and len(report.rows) == 1
    with pytest.raises(rt.VerificationError, match="golden.safetensors has no array 'none'"):
        report.raise_if_failed()


def test_comparing_arrays():
    zeros = np.zeros((2, 3), np.float32)
    for other in (zeros[:1], zeros.astype(np.float64)):
        assert compare(other, zeros, 1.0, 1.0) == (np.inf, np.inf, False)
    assert compare(zeros[:0], zeros[:0], 0.0, 0.0) == (0.0, 0.0, True)


def test_auto_says_which_drivers_are_missing(monkeypatch):
    def missing(driver):
        raise rt.DriverMissingError(f"the driver {driver} is missing")

    monkeypatch.setattr(_devices, "list_devices", missing)
    gpu = rt.Module("vulkan:ampere", "vulkan", MEMBER, {"vulkan_target": "ampere"})
    manifest = rt.read(tiny.artifact([gpu, lacking()], {MEMBER: b"code"})).manifest
    info, _ = _variants.choose_device(manifest, "auto")
    assert info.name == "cpu" and "; not vulkan: " in info.reason and "is missing" in info.reason
    alone = rt.read(tiny.artifact([gpu], {MEMBER: b"code"})).manifest
    with pytest.raises(rt.DriverMissingError, match="no device here runs 'tiny': vulkan: .*missi"):
        _variants.choose_device(alone, "auto")


def test_a_gpu_by_a_path_that_is_not_there(monkeypatch):
    monkeypatch.setattr(_devices, "list_devices", lambda driver: [{"path": "GPU-1", "name": "A"}])
    with pytest.raises(rt.DriverMissingError, match="no device 'cuda:GPU-9'; this machine has cud"):
        _devices.find_device("cuda:GPU-9")


def test_sizes_have_units():
    sizes = [size_text(3 << shift) for shift in (0, 10, 20, 30, 40)]
    assert sizes == ["3 B", "3.0 KiB", "3.0 MiB", "3.0 GiB", "3072.0 GiB"]


def test_rows_of_a_program_have_no_golden_calls():
    assert not rt.read(rows.artifact()).goldens()
