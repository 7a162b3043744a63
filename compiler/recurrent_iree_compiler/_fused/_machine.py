"""What the planner knows of a CPU: vector width, registers, caches, cores."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A CPU target as the planner sees it.

    Attributes:
        vector_bits: width of a vector register.
        registers: how many there are.
        l1, l2: data caches of one core, in bytes.
        cores: into how many workgroups it is worth splitting a batch.
        architecture: what a thread that waits can tell the processor depends on it.
    """

    vector_bits: int
    registers: int
    l1: int
    l2: int
    cores: int
    architecture: str = ""

    @property
    def chains(self) -> int:
        """Sums of one row that keep the multipliers busy: with fewer they wait for each other."""
        return 8 if self.vector_bits == 256 else 4

    @property
    def ahead(self) -> int:
        """Bytes before they are read to ask for weights that are far away; 0: it does not help."""
        return 1024 if self.vector_bits == 256 else 0

    def lanes(self, bits: int) -> int:
        """How many elements of `bits` fit into a register."""
        return max(1, self.vector_bits // bits)


_TABLE = {
    "x86-64": Machine(128, 16, 32 << 10, 256 << 10, 4, "x86"),
    "x86-64-v2": Machine(128, 16, 32 << 10, 256 << 10, 4, "x86"),
    "x86-64-v3": Machine(256, 16, 32 << 10, 256 << 10, 4, "x86"),
    "x86-64-v4": Machine(512, 32, 32 << 10, 1 << 20, 8, "x86"),
    "aarch64": Machine(128, 32, 32 << 10, 512 << 10, 4, "aarch64"),
    "armv7": Machine(128, 16, 32 << 10, 256 << 10, 2),
    "riscv64-v": Machine(256, 32, 32 << 10, 256 << 10, 4),
    "riscv64": Machine(128, 32, 32 << 10, 256 << 10, 2),
    "wasm32": Machine(128, 16, 32 << 10, 256 << 10, 1),
}


def known_machine(name: str) -> Machine:
    """The machine of a target such as ``"cpu:x86-64-v3"``, ``"cpu:aarch64"`` or ``"cpu"``.

    Only the host (``"cpu"``) is looked at; every other target is known from the table, so that a
    build does not depend on the machine that it runs on. Unknown names get 128-bit vectors.
    """
    short = name.removeprefix("cpu").removeprefix(":")
    if short in ("", "host"):
        return host_machine()
    for key in sorted(_TABLE, key=len, reverse=True):
        if short.startswith(key):
            return _TABLE[key]
    return _TABLE["x86-64"]


def host_machine() -> Machine:
    """The machine that this process runs on."""
    flags = _cpu_flags()
    cores = os.cpu_count() or 1
    name = platform.machine()
    short = {"x86_64": "x86", "AMD64": "x86", "arm64": "aarch64"}.get(name, name)
    if "avx512f" in flags:
        return Machine(512, 32, _cache(0, 32 << 10), _cache(2, 1 << 20), cores, short)
    if "avx2" in flags:
        return Machine(256, 16, _cache(0, 32 << 10), _cache(2, 256 << 10), cores, short)
    arm = "asimd" in flags
    return Machine(128, 32 if arm else 16, _cache(0, 32 << 10), _cache(2, 256 << 10), cores, short)


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:
        return set()
    return set(lines[0].split(":", 1)[1].split()) if lines else set()


def _cache(index: int, default: int) -> int:
    path = f"/sys/devices/system/cpu/cpu0/cache/index{index}/size"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except OSError:
        return default
    scale = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * scale
