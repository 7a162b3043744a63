"""Processors: triples, flags and the features that a machine must have."""

from __future__ import annotations

import re
import subprocess
from functools import cache

from recurrent_iree_runtime import CompilerCrashError, CompilerTimeoutError

from ._targets import Target
from ._tools import find_tool

_LOCAL = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
_X86 = "x86_64-unknown-linux-gnu"
_ARM = "aarch64-unknown-linux-gnu"
_RISCV = "+m,+a,+f,+d,+c"
_ABI = {"int4": "int8", "uint4": "uint8"}

# Features whose instructions a compiler chooses by itself, and which differ between processors.
_X86_FEATURES = frozenset(
    "sse3 ssse3 sse4.1 sse4.2 sse4a popcnt cx16 lzcnt bmi bmi2 tbm xop fma4 avx avx2 fma f16c "
    "movbe gfni avxvnni "
    "avx512f avx512cd avx512bw avx512dq avx512vl avx512ifma avx512vbmi avx512vbmi2 avx512vnni "
    "avx512bitalg avx512vpopcntdq avx512bf16 avx512fp16".split()
)
_ARM_FEATURES = frozenset("dotprod fullfp16 fp16fml i8mm bf16 lse rdm sve sve2 complxnum".split())


def cpu_target(name: str, variant: str) -> Target | None:
    """``cpu`` (this machine) or one of the named processors; `None` for an unknown name."""
    if not variant:
        return _host(name)
    if variant in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        return _target(name, _X86, variant, "x86_64", (variant,))
    family, _, detail = variant.partition("-")
    if family == "aarch64":
        return _aarch64(name, detail)
    if variant == "armv7":
        flags = (*_features("+neon"), "--iree-llvmcpu-target-float-abi=hard")
        triple = "armv7a-unknown-linux-gnueabihf"
        return _target(name, triple, "generic", "armv7l", ("neon",), flags)
    if variant in ("riscv64", "riscv64-v"):
        features = _RISCV + (",+v,+zvl256b" if detail else "")
        flags = (*_features(features), "--iree-llvmcpu-target-abi=lp64d")
        needs = ("v", "zvl256b") if detail else ()
        triple = "riscv64-unknown-linux-gnu"
        return _target(name, triple, "generic-rv64", "riscv64", needs, flags)
    if variant == "wasm32":
        return _target(name, "wasm32-unknown-emscripten", "generic", "wasm32", ())
    return None


def _aarch64(name: str, cpu: str) -> Target | None:
    if cpu in ("", "generic"):
        return _target(name, _ARM, "generic", "aarch64", ())
    found = _resolve(cpu, _ARM)
    if found is None:
        return None
    return _target(name, _ARM, cpu, "aarch64", _needed(found[1], _ARM_FEATURES))


def _host(name: str) -> Target:
    """The processor of this machine, spelled out so that the flags mean the same anywhere."""
    found = _resolve("host", "")
    if found is None:
        raise CompilerCrashError("iree-compile does not know the processor of this machine")
    cpu, features, triple = found
    arch = triple.partition("-")[0].replace("arm64", "aarch64")
    chosen = _X86_FEATURES if arch == "x86_64" else _ARM_FEATURES
    note = f"cpu is the processor of the machine that compiled: {cpu or arch}"
    flags = _features(",".join(features)) if features else ()
    host_triple = {"x86_64": _X86, "aarch64": _ARM}.get(arch, triple)
    return _target(name, host_triple, cpu, arch, _needed(features, chosen), flags, note)


def _target(
    name: str,
    triple: str,
    cpu: str,
    arch: str,
    features: tuple[str, ...],
    flags: tuple[str, ...] = (),
    note: str = "",
) -> Target:
    chosen = (f"--iree-llvmcpu-target-triple={triple}", f"--iree-llvmcpu-target-cpu={cpu}")
    needs: dict[str, str | tuple[str, ...]] = {"arch": arch}
    if features:
        needs["features"] = features
    return Target(name, "cpu", (*_LOCAL, *chosen, *flags), needs, _ABI, note)


def _features(text: str) -> tuple[str, ...]:
    return (f"--iree-llvmcpu-target-cpu-features={text}",)


def _needed(features: tuple[str, ...], chosen: frozenset[str]) -> tuple[str, ...]:
    on: set[str] = set()
    for feature in features:
        (on.add if feature.startswith("+") else on.discard)(feature[1:])
    return tuple(sorted(on & chosen))


@cache
def _resolve(cpu: str, triple: str) -> tuple[str, tuple[str, ...], str] | None:
    """Name, features (in LLVM's order and spelling) and triple of a CPU, or `None`.

    The compiler itself is asked, so that the answer is what it uses.
    """
    if not re.fullmatch(r"[a-z0-9.-]+", cpu):
        return None
    command = [str(find_tool("iree-compile")), "-", *_LOCAL, "--compile-to=hal"]
    command += [f"--iree-llvmcpu-target-cpu={cpu}"]
    command += [f"--iree-llvmcpu-target-triple={triple}"] if triple else []
    source = "func.func public @f(%a: tensor<f32>) -> tensor<f32> {\n"
    source += "  %0 = arith.addf %a, %a : tensor<f32>\n  return %0 : tensor<f32>\n}\n"
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise CompilerTimeoutError(f"iree-compile did not describe {cpu!r} in 60 s") from error
    text = done.stdout.replace("\\22", '"')
    found = [
        re.search(rf'\b{k} = "([^"]*)"', text) for k in ("cpu", "cpu_features", "target_triple")
    ]
    if done.returncode != 0 or found[2] is None or "is not a recognized" in done.stderr:
        return None
    name, features = (m[1] if m else "" for m in found[:2])
    last = {f[1:]: f for f in features.split(",") if f}
    return name, tuple(last.values()), found[2][1]
