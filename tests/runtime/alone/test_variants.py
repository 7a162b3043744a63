"""Which module runs on which machine: processors and GPUs that this one need not have."""

import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _cpu, _devices, _variants
from runtime import tiny

SAPPHIRE_RAPIDS = """flags : fpu vme de pse tsc msr pae cx8 apic sep mtrr pge mca cmov pat pse36 \
clflush mmx fxsr sse sse2 ss ht syscall nx rdtscp lm constant_tsc pni pclmulqdq ssse3 fma cx16 \
sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand lahf_lm abm 3dnowprefetch bmi1 avx2 \
bmi2 avx512f avx512dq rdseed adx avx512ifma avx512cd sha_ni avx512bw avx512vl avx_vnni avx512_bf16 \
avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq avx512_fp16
"""
HASWELL = """flags : fpu cx8 cmov mmx fxsr sse sse2 pni ssse3 fma cx16 sse4_1 sse4_2 movbe \
popcnt aes xsave avx f16c rdrand lahf_lm abm bmi1 avx2 bmi2
"""
NEHALEM = "flags : fpu cx8 cmov mmx fxsr sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm\n"
CORE_2 = "flags : fpu cx8 cmov mmx fxsr sse sse2 pni ssse3 cx16 lahf_lm\n"
NEOVERSE_V1 = """Features : fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid \
asimdrdm jscvt fcma lrcpc dcpop sha3 asimddp sha512 sve asimdfhm i8mm svebf16 bf16
"""
CORTEX_A53 = "Features : fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n"
LEVELS = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")


def module(target, driver="cpu", **needs):
    member = None if driver == "xla" else f"modules/{target.replace(':', '-')}.vmfb"
    return rt.Module(target, driver, member, needs, iree=rt.iree_version())


def manifest(*modules):
    return rt.read(tiny.artifact(modules, {m.member: b"" for m in modules if m.member})).manifest


def level(name):
    return module(f"cpu:{name}", arch="x86_64", features=(name,))


def arm(name, *features):
    return module(f"cpu:{name}", arch="aarch64", features=features)


@pytest.fixture
def machine(monkeypatch):
    """Makes the runtime believe in another processor."""

    def become(architecture, cpuinfo):
        features = _cpu.parse_cpuinfo(cpuinfo, architecture)
        for place in (_cpu, _variants):
            monkeypatch.setattr(place, "host_features", lambda: features)
            monkeypatch.setattr(place, "host_architecture", lambda: architecture)

    return become


X86 = [
    (SAPPHIRE_RAPIDS, LEVELS, "x86-64-v4"),
    (HASWELL, LEVELS, "x86-64-v3"),
    (NEHALEM, LEVELS, "x86-64-v2"),
    (CORE_2, LEVELS, "x86-64"),
    (SAPPHIRE_RAPIDS, LEVELS[:2], "x86-64-v2"),
    (HASWELL, (LEVELS[3], LEVELS[1]), "x86-64-v2"),
]


@pytest.mark.parametrize("cpuinfo, levels, best", X86)
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_best_level_is_chosen_and_the_reason_given(machine, device, cpuinfo, levels, best):
    machine("x86_64", cpuinfo)
    artifact = manifest(*map(level, levels), arm("aarch64"))
    info, chosen = _variants.choose_device(artifact, device)
    assert chosen.target == f"cpu:{best}"
    assert f"runs the module 'cpu:{best}'" in info.reason
    assert "not cpu:aarch64: it is for aarch64, and this processor is x86_64" in info.reason
    for other in set(levels) - {best}:
        if LEVELS.index(other) > LEVELS.index(best):
            assert f"not cpu:{other}: it needs " in info.reason
        else:
            assert f"cpu:{other}" in info.reason.partition("uses more of the device than ")[2]


def test_a_processor_below_every_level(machine):
    machine("x86_64", CORE_2)
    with pytest.raises(rt.NoVariantError, match=r"cpu:x86-64-v2: it needs popcnt, sse4.1, sse4.2, "
                       r"and this processor \(x86-64\) does not have it"):  # fmt: skip
        _variants.choose_device(manifest(level("x86-64-v2"), level("x86-64-v4")), "cpu")


def test_single_features(machine):
    machine("x86_64", HASWELL)
    host = module("cpu", arch="x86_64", features=("avx2", "fma", "avx512vnni"))
    with pytest.raises(rt.NoVariantError, match="cpu: it needs avx512vnni, and this processor"):
        _variants.choose_device(manifest(host), "cpu")
    info, chosen = _variants.choose_device(manifest(host, level("x86-64-v3")), "cpu")
    assert chosen.target == "cpu:x86-64-v3" and "not cpu: it needs avx512vnni" in info.reason


ARM = [
    (NEOVERSE_V1, "aarch64-neoverse-v1"),
    (CORTEX_A53, "aarch64"),
]


@pytest.mark.parametrize("cpuinfo, best", ARM)
def test_arm(machine, cpuinfo, best):
    machine("aarch64", cpuinfo)
    v1 = arm("aarch64-neoverse-v1", "dotprod", "fullfp16", "i8mm", "bf16", "lse", "rdm", "sve")
    artifact = manifest(arm("aarch64"), v1, level("x86-64-v2"))
    info, chosen = _variants.choose_device(artifact, "auto")
    assert chosen.target == f"cpu:{best}"
    assert "not cpu:x86-64-v2: it is for x86_64, and this processor is aarch64" in info.reason


NVIDIA, AMD = "NVIDIA GeForce RTX 3080", "AMD Radeon RX 7900 XTX (RADV NAVI31)"
GPUS = [
    ([NVIDIA], "vulkan:ampere"),
    ([AMD], "vulkan:rdna3"),
    (["llvmpipe (LLVM 15.0.6, 256 bits)"], "vulkan:llvmpipe"),
    (["Adreno (TM) 740"], "vulkan:adreno"),
    (["Mali-G715"], "vulkan:valhall4"),
]


@pytest.mark.parametrize("names, best", GPUS)
def test_vulkan_targets(monkeypatch, names, best):
    listed = [{"path": f"GPU-{i}", "name": name} for i, name in enumerate(names)]
    monkeypatch.setattr(_devices, "list_devices", lambda driver: listed)
    targets = [best for _, best in GPUS]
    modules = [module(t, "vulkan", vulkan_target=t.partition(":")[2]) for t in targets]
    info, chosen = _variants.choose_device(manifest(*modules), "vulkan")
    assert chosen.target == best
    for other in set(targets) - {best}:
        wanted = other.partition(":")[2]
        assert f"not {other}: it is compiled for {wanted!r}, and this device is" in info.reason
    others = [m for m in modules if m.target != best]
    with pytest.raises(rt.NoVariantError, match="no module of 'tiny' runs on 'vulkan'"):
        _variants.choose_device(manifest(*others), "vulkan")


@pytest.mark.parametrize(
    "capability, best", [(75, "cuda:sm_60"), (80, "cuda:sm_80"), (86, "cuda:sm_80"), (90, "sm_89")]
)
def test_cuda_targets(monkeypatch, capability, best):
    listed = [{"path": "GPU-1", "name": "NVIDIA"}]
    monkeypatch.setattr(_devices, "list_devices", lambda driver: listed)
    monkeypatch.setattr(_variants, "cuda_capability", lambda index: capability)
    modules = [module(f"cuda:{sm}", "cuda", cuda=sm) for sm in ("sm_60", "sm_80", "sm_89")]
    info, chosen = _variants.choose_device(manifest(*modules), "auto")
    assert chosen.target.endswith(best)
    if capability < 89:
        assert f"it needs a GPU of sm_89, and this one is sm_{capability}" in info.reason
    with pytest.raises(rt.NoVariantError, match="it needs a GPU of sm_120, and this one is sm_"):
        _variants.choose_device(manifest(module("cuda:sm_120", "cuda", cuda="sm_120")), "cuda")


def test_platforms_of_xla():
    every = module("xla", "xla", platforms=("cpu", "cuda", "tpu"))
    tpu = module("xla:tpu", "xla")
    device = rt.DeviceInfo("xla:cpu", "xla", "", True)
    assert _variants.misfit(every, device) is None
    assert _variants.misfit(tpu, device) == "it is exported for tpu"
    both = module("xla", "xla", platforms=("cuda", "tpu"))
    assert _variants.misfit(both, device) == "it is exported for cuda, tpu"
    assert _variants.misfit(both, rt.DeviceInfo("xla", "xla", "", True)) is None


def test_the_reason_is_on_the_model():
    from pathlib import Path

    path = Path(__file__).resolve().parents[1] / "data" / "tiny.riree"
    with rt.load(path, "cpu") as model:
        assert "asked for; runs the module 'cpu:" in model.device.reason
        assert "not cpu:" in model.device.reason and "it is for" in model.device.reason
