"""Targets: their names, the compiler flags behind them, and what they need to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from recurrent_iree_runtime import UnknownTargetError

Driver = Literal["cpu", "vulkan", "cuda", "vmvx", "hip", "metal", "xla"]
Needs = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Target:
    """One kind of device that a program is compiled for.

    Attributes:
        name: as the caller spelled it, for example ``cpu:x86-64-v3``.
        driver: the driver of the runtime that loads the module.
        flags: arguments of ``iree-compile`` that choose the device; none for ``xla``.
        needs: what a machine must have, in the words of the manifest.
        abi: dtypes that have another dtype at the edge of the module.
        note: a sentence for the report about a choice that was made for the caller.
    """

    name: str
    driver: Driver
    flags: tuple[str, ...] = ()
    needs: Needs = field(default_factory=dict)
    abi: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


EXAMPLES = {
    "cpu": "cpu, cpu:x86-64-v2, cpu:x86-64-v3, cpu:x86-64-v4, cpu:aarch64, "
    "cpu:aarch64-cortex-a53, cpu:armv7, cpu:riscv64, cpu:riscv64-v, cpu:wasm32",
    "vulkan": "vulkan, vulkan:llvmpipe, vulkan:ampere, vulkan:ada, vulkan:rdna3, "
    "vulkan:adreno, vulkan:valhall4",
    "cuda": "cuda, cuda:sm_80, cuda:sm_89",
    "hip": "hip:gfx90a, hip:gfx942, hip:gfx1100",
    "metal": "metal",
    "vmvx": "vmvx",
    "xla": "xla, xla:cpu, xla:cuda, xla:tpu",
}


def parse_target(name: str) -> Target:
    """The target of that name.

    Args:
        name: a family, or a family and a variant: ``cpu``, ``cpu:x86-64-v3``, ``vulkan:ampere``.

    Raises:
        UnknownTargetError: there is no such target; the message lists what there is.

    >>> parse_target("cuda:sm_80").needs
    {'cuda': 'sm_80'}
    """
    from ._cpu_targets import cpu_target
    from ._gpu_targets import cuda_target, hip_target, vulkan_target

    if not isinstance(name, str):
        raise UnknownTargetError(f"a target is a string; given {name!r}. {_listing()}")
    family, colon, variant = name.partition(":")
    families: dict[str, Callable[[str, str], Target | None]] = {
        "cpu": cpu_target,
        "vulkan": vulkan_target,
        "cuda": cuda_target,
        "hip": hip_target,
        "metal": _metal_target,
        "vmvx": _vmvx_target,
        "xla": _xla_target,
    }
    if family not in families:
        raise UnknownTargetError(f"there is no target {name!r}. {_listing()}")
    target = families[family](name, variant) if variant or not colon else None
    if target is None:
        raise UnknownTargetError(
            f"there is no target {name!r}. Targets of {family!r}: {EXAMPLES[family]}"
        )
    return target


def _listing() -> str:
    return "Targets: " + "; ".join(EXAMPLES.values())


def _vmvx_target(name: str, variant: str) -> Target | None:
    flags = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=vmvx")
    return None if variant else Target(name, "vmvx", flags)


def _metal_target(name: str, variant: str) -> Target | None:
    return None if variant else Target(name, "metal", ("--iree-hal-target-device=metal",))


def _xla_target(name: str, variant: str) -> Target | None:
    return Target(name, "xla") if variant in ("", "cpu", "cuda", "tpu") else None
