"""Devices, their choice, and modules that must not run on them."""

import sys

import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _cpu, _devices, _placement, _variants
from recurrent_iree_runtime._drivers import _iree_devices
from runtime import tiny


def module(target, driver="cpu", **needs):
    iree = needs.pop("iree", rt.iree_version())
    member = None if driver == "xla" else f"modules/{target.replace(':', '-')}.vmfb"
    return rt.Module(target, driver, member, needs, iree=iree)


def artifact(*modules):
    code = {m.member: b"not run" for m in modules}
    return rt.read(tiny.artifact(modules, code))


def here(**features):
    arch = _cpu.host_architecture()
    return module("cpu:here", arch=arch, **features)


def test_devices_lists_what_is_missing_and_how_to_get_it():
    found = {device.name: device for device in rt.devices()}
    assert found["cpu"].available and found["cpu:local-sync"].available and found["vmvx"].available
    for driver in ("vulkan", "cuda", "hip", "metal", "xla"):
        match = [d for d in found.values() if d.driver == driver]
        assert match
        assert match[0].available or match[0].reason


def no_driver(name):
    raise rt.DriverMissingError("opening failed") from RuntimeError("UNAVAILABLE; no library")


def test_a_missing_vulkan_driver_names_the_packages(monkeypatch):
    monkeypatch.setattr(_devices, "list_devices", no_driver)
    vulkan = next(d for d in rt.devices() if d.driver == "vulkan")
    assert not vulkan.available
    assert "apt-get install mesa-vulkan-drivers libvulkan1" in vulkan.reason
    with pytest.raises(rt.DriverMissingError, match="'vulkan' is missing: .*mesa-vulkan-drivers"):
        rt.load(artifact(here()), "vulkan")
    with pytest.raises(rt.DriverMissingError, match="libcuda.so"):
        rt.load(artifact(here()), "cuda")


def test_a_missing_jax_names_the_command(monkeypatch):
    monkeypatch.setattr(_devices, "has_jax", lambda: False)
    with pytest.raises(rt.DriverMissingError, match=r"pip install recurrent-iree-runtime\[xla\]"):
        rt.load(artifact(here()), "xla")


WORDS = [
    ("tpu", rt.DriverMissingError, "there is no device 'tpu'; expected auto, cpu,"),
    ("cpu:gpu", rt.DriverMissingError, "there is no device 'cpu:gpu'; expected cpu, cpu:local"),
    ("fake", rt.ArgumentError, r"give a rt.FakeDriver\(functions="),
    (3, rt.ArgumentTypeError, "device is a int; expected a string such as 'auto', or a Driver"),
]


@pytest.mark.parametrize("device, error, message", WORDS)
def test_unknown_devices(device, error, message):
    with pytest.raises(error, match=message):
        rt.load(artifact(here()), device)


def test_several_gpus(monkeypatch):
    gpus = [{"path": "GPU-1", "name": "NVIDIA A"}, {"path": "GPU-2", "name": "NVIDIA B"}]
    monkeypatch.setattr(_devices, "list_devices", lambda driver: gpus)
    names = [d.name for d in rt.devices() if d.driver == "cuda"]
    assert names == ["cuda:0", "cuda:1"]
    assert _devices.find_device("cuda:1").description == "NVIDIA B"
    assert _devices.find_device("cuda:GPU-2").description == "NVIDIA B"
    assert _devices.gpu_index(_devices.find_device("cuda:GPU-2")) == 1
    driver = _devices.make_driver(_devices.find_device("cuda:1"))
    assert getattr(driver, "uri", "") == "cuda://GPU-2"
    with pytest.raises(rt.DriverMissingError, match="no device 'cuda:2'; this machine has cuda:0"):
        _devices.find_device("cuda:2")


def test_a_module_for_another_processor():
    with pytest.raises(rt.NoVariantError, match="cpu:other: it is for mips, and this processor"):
        rt.load(artifact(module("cpu:other", arch="mips")), "cpu")


def test_a_module_that_needs_missing_features():
    needs = here(features=("made-up-1", "made-up-2"))
    with pytest.raises(rt.NoVariantError, match="needs made-up-1, made-up-2, and this processor"):
        rt.load(artifact(needs), "cpu")


def test_nothing_fits_says_why_for_each():
    with pytest.raises(rt.DriverMissingError, match="no device here runs 'tiny': cpu: no module"):
        rt.load(artifact(module("cpu:other", arch="mips")))
    with pytest.raises(rt.NoVariantError, match="holds no modules; compile it with targets"):
        rt.load(artifact())


def test_the_best_of_several_levels(monkeypatch):
    monkeypatch.setattr(_cpu, "host_features", lambda: _cpu.LEVELS["x86-64-v3"])
    monkeypatch.setattr(_cpu, "host_architecture", lambda: "x86_64")
    monkeypatch.setattr(_variants, "host_architecture", lambda: "x86_64")
    levels = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]
    modules = [module(f"cpu:{v}", arch="x86_64", features=(v,)) for v in levels]
    manifest = artifact(*modules).manifest
    info = rt.DeviceInfo("cpu", "cpu", "", True)
    assert _variants.choose_module(manifest, info).target == "cpu:x86-64-v3"
    only = artifact(modules[3]).manifest
    with pytest.raises(rt.NoVariantError, match="needs avx512bw, avx512cd, .*x86-64-v3"):
        _variants.choose_module(only, info)


def test_processors_that_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(_cpu, "host_features", lambda: None)
    monkeypatch.setattr(_variants, "host_features", lambda: None)
    assert _cpu.missing_features(["x86-64-v2"])
    assert _cpu.missing_features([]) == []
    assert "does not tell what its processor has" in str(
        _variants.misfit(here(features=("avx2",)), rt.DeviceInfo("cpu", "cpu", "", True))
    )


CPUINFO_X86 = """processor : 0
flags\t\t: fpu sse sse2 pni ssse3 cx16 sse4_1 sse4_2 movbe popcnt xsave avx f16c lahf_lm abm \
fma bmi1 avx2 bmi2
"""


def test_reading_cpuinfo():
    found = _cpu.parse_cpuinfo(CPUINFO_X86, "x86_64")
    assert _cpu.LEVELS["x86-64-v3"] <= found
    assert not _cpu.LEVELS["x86-64-v4"] <= found
    arm = _cpu.parse_cpuinfo("Features : fp asimd asimddp asimdhp sve", "aarch64")
    assert {"neon", "dotprod", "fullfp16", "sve"} <= arm


VULKAN = [
    ("llvmpipe", "llvmpipe (LLVM 15)", None),
    ("llvmpipe", "NVIDIA GeForce RTX 3080", "compiled for 'llvmpipe', and this device is 'NVIDIA"),
    ("ampere", "NVIDIA GeForce RTX 3080", None),
    ("ampere", "NVIDIA H200", None),
    ("ampere", "llvmpipe (LLVM 15)", "compiled for 'ampere', and this device is 'llvmpipe"),
    ("rdna3", "AMD Radeon RX 7900", None),
    ("rdna3", "NVIDIA GeForce", "compiled for 'rdna3'"),
    ("adreno-740", "Adreno (TM) 740", None),
    ("mali-g715", "Mali-G715", None),
    ("", "llvmpipe (LLVM 15)", "this device needs 'vulkan:llvmpipe'"),
    ("", "Mali-G715", None),
]


@pytest.mark.parametrize("target, device, message", VULKAN)
def test_vulkan_targets_and_devices(target, device, message):
    why = _iree_devices.vulkan_mismatch(target, device)
    assert (why is None) if message is None else (message in str(why))


@pytest.mark.parametrize("have, fits", [(75, False), (80, True), (90, True), (None, True)])
def test_cuda_capability(monkeypatch, have, fits):
    monkeypatch.setattr(_variants, "cuda_capability", lambda index: have)
    why = _variants.misfit(module("cuda:sm_80", "cuda", cuda="sm_80"),
                           rt.DeviceInfo("cuda", "cuda", "", True))  # fmt: skip
    assert (why is None) == fits
    assert fits or "needs a GPU of sm_80, and this one is sm_75" in str(why)


def test_without_a_cuda_library(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(_iree_devices.ctypes, "CDLL", missing)
    assert _iree_devices.cuda_capability(0) is None


def test_auto_prefers_gpus_but_not_software(monkeypatch):
    gpu = [{"path": "GPU-1", "name": "llvmpipe"}]
    monkeypatch.setattr(_devices, "list_devices", lambda driver: gpu)
    soft = module("vulkan:llvmpipe", "vulkan", vulkan_target="llvmpipe")
    manifest = artifact(soft, here()).manifest
    info, chosen = _variants.choose_device(manifest, "auto")
    assert (info.name, chosen.target) == ("cpu", "cpu:here")
    info, _ = _variants.choose_device(artifact(soft).manifest, "auto")
    assert info.name == "vulkan"
    gpu[0]["name"] = "NVIDIA A100"
    real = module("vulkan:ampere", "vulkan", vulkan_target="ampere")
    info, _ = _variants.choose_device(artifact(real, here()).manifest, "auto")
    assert info.name == "vulkan" and "the first of cuda, hip, metal, vulkan" in info.reason
    info, _ = _variants.choose_device(artifact(soft, here()).manifest, "auto")
    assert info.name == "cpu" and "not vulkan: no module" in info.reason


def test_a_module_of_another_iree():
    old = module("cpu:here", arch=_cpu.host_architecture(), iree="3.1.0")
    for device in ("cpu", "auto"):
        with pytest.raises(rt.VersionError, match=r"compiled by IREE 3.1.0; this runtime is IREE "
                           r".*`recurrent-iree recompile FILE`"):  # fmt: skip
            rt.load(artifact(old), device)


def test_bytes_that_iree_refuses():
    with pytest.raises(rt.RecurrentIreeError, match="loading the module for 'cpu:here'") as caught:
        rt.load(artifact(here()), "cpu")
    assert caught.value.__cause__ is not None


class Times:
    """An executable whose calls take a known time."""

    def __init__(self, seconds, clock):
        self.seconds, self.clock = seconds, clock

    def bind(self, signature):
        def call(inputs, states):
            self.clock[0] += self.seconds
            return [], []

        return call

    def to_device(self, arrays, specs):
        return list(arrays)

    def close(self):
        pass


def placed(monkeypatch, flops, sync, task, cores=2, goldens=None, arrays=None):
    clock = [0.0]
    monkeypatch.setattr(_placement.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(_placement, "_cores", lambda: cores)
    entry = tiny.entries()[3]
    cost = {} if flops is None else {"flops": flops}
    function = rt.Function("pair", {}, cost)
    entry = rt.Entry(entry.name, "module", entry.inputs, entry.input_tree, entry.outputs,
                     entry.output_tree, (function,))  # fmt: skip
    manifest = rt.Manifest("m", "pair", (), (entry,), goldens=goldens or tiny.golden()[0][-1:])
    times = {"local-sync": sync, "local-task": task}
    arrays = tiny.golden()[1] if arrays is None else arrays
    found = _placement.place(manifest, lambda: arrays, lambda uri: Times(times[uri], clock))
    return found["whole"]


def test_placement_measures_what_is_neither_small_nor_large(monkeypatch):
    assert placed(monkeypatch, 1e3, 1, 1).reason == "small work (1e+03 flop)"
    assert placed(monkeypatch, 1e10, 1, 1).uri == "local-task"
    assert placed(monkeypatch, 1e7, 1e-3, 2e-3).uri == "local-sync"
    faster = placed(monkeypatch, 1e7, 2e-3, 1e-3)
    assert faster.uri == "local-task"
    assert faster.reason == "measured pair: local-sync 2000 us, local-task 1000 us"
    assert placed(monkeypatch, None, 1e-3, 2e-3).uri == "local-sync"
    assert placed(monkeypatch, 1e10, 1, 1, cores=1).reason == "one core"


def test_placement_measures_short_calls_and_without_golden_calls(monkeypatch):
    for options in ({}, {"goldens": tiny.golden()[0]}, {"arrays": {}}):
        found = placed(monkeypatch, 1e7, 2e-6, 1e-6, **options)
        assert found.reason == "measured pair: local-sync 2 us, local-task 1 us"


@pytest.mark.parametrize("size", [(1 << 40) - 1, "n"])
def test_placement_makes_up_no_huge_arguments(monkeypatch, size):
    monkeypatch.setattr(_placement, "_cores", lambda: 2)
    leaf = rt.Leaf("x", (size, size), "float32")
    tree = rt.tree_of({"args": (0,), "kwargs": {}})[0]
    function = rt.Function("main", {}, {"flops": 1e7})
    entry = rt.Entry("main", "module", (leaf,), tree, (leaf,), {"leaf": 0}, (function,))
    manifest = rt.Manifest("m", "main", (), (entry,))
    found = _placement.place(manifest, dict, lambda uri: pytest.fail("nothing is measured"))
    assert found["whole"].reason == "its sizes are known only at run time, or too large to try"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/cpuinfo")
def test_this_processor():
    assert _cpu.host_level()
    assert _cpu.host_features()
    assert _cpu.missing_features([]) == []
