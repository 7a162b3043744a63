"""The table of targets, and what unknown names say."""

import pytest

import recurrent_iree_compiler._gpu_targets as gpu_targets
from recurrent_iree_compiler import parse_target
from recurrent_iree_runtime import UnknownTargetError
from recurrent_iree_runtime._cpu import missing_features

TABLE = {
    "cpu:x86-64-v2": ("cpu", {"arch": "x86_64", "features": ("x86-64-v2",)}),
    "cpu:x86-64-v3": ("cpu", {"arch": "x86_64", "features": ("x86-64-v3",)}),
    "cpu:x86-64-v4": ("cpu", {"arch": "x86_64", "features": ("x86-64-v4",)}),
    "cpu:aarch64": ("cpu", {"arch": "aarch64"}),
    "cpu:aarch64-cortex-a53": ("cpu", {"arch": "aarch64"}),
    "cpu:aarch64-cortex-a76": (
        "cpu",
        {"arch": "aarch64", "features": ("dotprod", "fullfp16", "lse", "rdm")},
    ),
    "cpu:armv7": ("cpu", {"arch": "armv7l", "features": ("neon",)}),
    "cpu:riscv64": ("cpu", {"arch": "riscv64"}),
    "cpu:riscv64-v": ("cpu", {"arch": "riscv64", "features": ("v", "zvl256b")}),
    "cpu:wasm32": ("cpu", {"arch": "wasm32"}),
    "vulkan:llvmpipe": ("vulkan", {"vulkan_target": "llvmpipe"}),
    "vulkan:ampere": ("vulkan", {"vulkan_target": "ampere"}),
    "vulkan:adreno": ("vulkan", {"vulkan_target": "adreno"}),
    "cuda:sm_80": ("cuda", {"cuda": "sm_80"}),
    "cuda": ("cuda", {"cuda": "sm_80"}),
    "hip:gfx1100": ("hip", {"hip": "gfx1100"}),
    "metal": ("metal", {}),
    "vmvx": ("vmvx", {}),
    "xla": ("xla", {}),
    "xla:tpu": ("xla", {}),
}


@pytest.mark.parametrize("name", TABLE)
def test_target(name):
    target = parse_target(name)
    assert (target.name, target.driver, dict(target.needs)) == (name, *TABLE[name])
    assert bool(target.flags) == (target.driver != "xla")


def test_the_host_is_spelled_out_so_that_the_runtime_can_check_it():
    target = parse_target("cpu")
    assert not any("host" in flag for flag in target.flags)
    assert missing_features(target.needs.get("features", ())) == []
    assert target.needs["arch"]


@pytest.mark.parametrize(
    "name",
    ["tpu", "cpu:pentium", "cpu:aarch64-pentium", "vulkan:apple", "vulkan:", "cuda:sm_90", "hip"],
)
def test_unknown_target(name):
    with pytest.raises(UnknownTargetError, match=f"there is no target '{name}'"):
        parse_target(name)


def test_the_message_lists_what_there_is():
    with pytest.raises(UnknownTargetError, match="vulkan:llvmpipe.*cuda:sm_80.*vmvx.*xla:tpu"):
        parse_target("gpu")


@pytest.mark.parametrize(
    ("devices", "chosen", "note"),
    [
        (["llvmpipe (LLVM 15.0.6, 256 bits)"], "llvmpipe", "the Vulkan device of this machine"),
        (["NVIDIA H200"], "ampere", "the Vulkan device here is 'NVIDIA H200'"),
        ([], "ampere", "there is no Vulkan device here"),
    ],
)
def test_bare_vulkan_never_means_the_default_of_iree(monkeypatch, devices, chosen, note):
    monkeypatch.setattr(gpu_targets, "_device_names", lambda: devices)
    target = parse_target("vulkan")
    assert target.needs == {"vulkan_target": chosen}
    assert f"--iree-vulkan-target={chosen}" in target.flags
    assert note in target.note


def test_what_this_machine_is_compiled_for_runs_on_it():
    from recurrent_iree_runtime._cpu import host_architecture, missing_features

    target = parse_target("cpu")
    assert target.needs["arch"] == host_architecture()
    assert missing_features(target.needs.get("features", ())) == []


def test_every_feature_that_a_target_may_need_can_be_found():
    from recurrent_iree_compiler._cpu_targets import _ARM_FEATURES, _X86_FEATURES
    from recurrent_iree_runtime._cpu import _FROM_CPUINFO, parse_cpuinfo

    for architecture, wanted in (("x86_64", _X86_FEATURES), ("aarch64", _ARM_FEATURES)):
        words = [*_FROM_CPUINFO[architecture], *(w.replace("sse4.", "sse4_") for w in wanted)]
        found = parse_cpuinfo(f"flags : {' '.join(words)}", architecture)
        assert wanted <= found
