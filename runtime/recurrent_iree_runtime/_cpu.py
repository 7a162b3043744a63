"""What this machine's processor can do, in the words of compiler targets."""

import platform
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_V2 = frozenset("cx16 sahf popcnt sse3 sse4.1 sse4.2 ssse3".split())
_V3 = _V2 | frozenset("avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave".split())
_V4 = _V3 | frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())
LEVELS = {"x86-64": frozenset[str](), "x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""x86-64 levels of the psABI as sets of LLVM feature names."""

_BASE = {
    "x86_64": "64bit cmov cx8 fxsr mmx sse sse2 x87".split(),
    "aarch64": "fp-armv8 neon v8a".split(),
}
_FROM_CPUINFO = {
    "x86_64": {
        "3dnowprefetch": ["prfchw"],
        "abm": ["lzcnt", "popcnt"],
        "bmi1": ["bmi"],
        "lahf_lm": ["sahf"],
        "pclmulqdq": ["pclmul"],
        "pni": ["sse3"],
        "rdrand": ["rdrnd"],
        "sha_ni": ["sha"],
        "sse4_2": ["crc32"],
        "avx512f": ["evex512"],
        "avx512_vnni": ["avx512vnni"],
        "avx512_bf16": ["avx512bf16"],
        "avx512_fp16": ["avx512fp16"],
        "avx512_vbmi2": ["avx512vbmi2"],
        "avx512_bitalg": ["avx512bitalg"],
        "avx512_vpopcntdq": ["avx512vpopcntdq"],
        "avx_vnni": ["avxvnni"],
        "amx_bf16": ["amx-bf16"],
        "amx_int8": ["amx-int8"],
        "amx_tile": ["amx-tile"],
    },
    "aarch64": {
        "fp": ["fp-armv8"],
        "asimd": ["neon"],
        "asimddp": ["dotprod"],
        "asimdhp": ["fullfp16"],
        "asimdrdm": ["rdm"],
        "atomics": ["lse"],
        "crc32": ["crc"],
        "asimdfhm": ["fp16fml"],
        "fcma": ["complxnum"],
        "jscvt": ["jsconv"],
        "lrcpc": ["rcpc"],
    },
}
_ARCHITECTURES = {
    "amd64": "x86_64",
    "x86_64": "x86_64",
    "arm64": "aarch64",
    "aarch64": "aarch64",
}


def host_architecture() -> str:
    """`x86_64`, `aarch64`, or whatever the system calls its processor."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def parse_cpuinfo(text: str, architecture: str) -> frozenset[str]:
    """LLVM feature names from the text of `/proc/cpuinfo`."""
    names = _FROM_CPUINFO.get(architecture, {})
    found: set[str] = set(_BASE.get(architecture, ()))
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            for flag in value.split():
                found.update([flag.replace("sse4_", "sse4."), *names.get(flag, [])])
            break
    return frozenset(found)


@cache
def host_features() -> frozenset[str] | None:
    """LLVM feature names of this processor; `None` where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    return parse_cpuinfo(text, host_architecture())


def host_level() -> str:
    """The highest x86-64 level of this processor, or its architecture."""
    features = host_features() or frozenset()
    if host_architecture() != "x86_64":
        return host_architecture()
    return [name for name, needed in LEVELS.items() if needed <= features][-1]


def missing_features(needed: Iterable[str]) -> list[str]:
    """The needed LLVM features, or x86-64 levels, that this processor is not known to have."""
    have = host_features()
    base = frozenset(_BASE.get(host_architecture(), ()))
    missing: set[str] = set()
    for feature in needed:
        wanted = LEVELS.get(feature, {feature.lstrip("+")})
        missing |= set(wanted) - (base if have is None else have)
    return sorted(missing)
