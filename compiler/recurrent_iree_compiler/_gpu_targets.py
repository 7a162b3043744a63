"""Graphics processors: the targets that compile rightly, and which one a bare name means."""

from __future__ import annotations

import re

from ._targets import Target

DEFAULT_VULKAN = "ampere"
DEFAULT_CUDA = "sm_80"

# IREE computes wrong numbers for small types at the edge of a Vulkan module.
_VULKAN_ABI = {
    "bool": "int32",
    "int4": "int32",
    "int8": "int32",
    "int16": "int32",
    "uint4": "uint32",
    "uint8": "uint32",
    "uint16": "uint32",
    "float16": "float32",
    "bfloat16": "float32",
    "float8_e4m3fn": "float32",
    "float8_e5m2": "float32",
}
# IREE 3.13 computes wrong numbers for some products whose transpose is added to another product.
# With this flag the transpose becomes part of the product.
_TRANSPOSES = "--iree-opt-aggressively-propagate-transposes=true"
_INT4_ABI = {"int4": "int8", "uint4": "uint8"}
_VULKAN = re.compile(
    r"llvmpipe|ampere|ada|turing|sm_86|rtx4090|rdna[34]|gfx1100|rx7900xtx|valhall4?|mali-g715|"
    r"adreno(-740)?"
)
_CUDA = re.compile(r"sm_(60|61|70|72|75|80|86|87|89|120)")
_HIP = re.compile(r"gfx(90a|942|950|1100|1101|1151|1201)|mi300x|w7900")


def vulkan_target(name: str, variant: str) -> Target | None:
    """A Vulkan target; the bare name never means IREE's own default, which is silently wrong."""
    note = ""
    if not variant:
        variant, note = _default_vulkan()
    if not _VULKAN.fullmatch(variant):
        return None
    flags = ("--iree-hal-target-device=vulkan", f"--iree-vulkan-target={variant}", _TRANSPOSES)
    return Target(name, "vulkan", flags, {"vulkan_target": variant}, _VULKAN_ABI, note)


def cuda_target(name: str, variant: str) -> Target | None:
    """A CUDA target: PTX, which the driver translates for that chip and all newer ones."""
    note = "" if variant else f"cuda is {DEFAULT_CUDA}; the driver translates it for newer GPUs"
    variant = variant or DEFAULT_CUDA
    if not _CUDA.fullmatch(variant):
        return None
    flags = ("--iree-hal-target-device=cuda", f"--iree-cuda-target={variant}")
    return Target(name, "cuda", flags, {"cuda": variant}, _INT4_ABI, note)


def hip_target(name: str, variant: str) -> Target | None:
    """An AMD target; the chip must be named."""
    if not _HIP.fullmatch(variant):
        return None
    flags = ("--iree-hal-target-device=hip", f"--iree-rocm-target={variant}")
    return Target(name, "hip", flags, {"hip": variant}, _INT4_ABI)


def _default_vulkan() -> tuple[str, str]:
    """The variant that a bare ``vulkan`` means, and a sentence that says so."""
    names = _device_names()
    if any("llvmpipe" in name.lower() for name in names):
        return "llvmpipe", "vulkan is vulkan:llvmpipe, the Vulkan device of this machine"
    found = f"the Vulkan device here is {names[0]!r}" if names else "there is no Vulkan device here"
    return DEFAULT_VULKAN, (
        f"vulkan is vulkan:{DEFAULT_VULKAN} ({found}); name the GPU for another one, "
        "for example vulkan:rdna3 or vulkan:adreno"
    )


def _device_names() -> list[str]:
    from iree.runtime import get_driver

    try:
        return [str(d["name"]) for d in get_driver("vulkan").query_available_devices()]
    except (RuntimeError, ValueError):
        return []
