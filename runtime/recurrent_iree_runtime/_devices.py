"""Which devices this machine has, and which drivers are missing and why."""

import sys
from dataclasses import dataclass

from ._cpu import host_level
from ._drivers._base import Driver
from ._drivers._iree import IreeDriver
from ._drivers._iree_devices import list_devices
from ._drivers._xla import INSTALL, XlaDriver, has_jax
from ._errors import ArgumentError, ArgumentTypeError, DriverMissingError, RecurrentIreeError


@dataclass(frozen=True)
class DeviceInfo:
    """One device, or one missing driver.

    `name` is what `load(device=)` takes; `driver` is the driver's name; `available` says whether
    it can be used; `reason` says why not, or, on `model.device`, why it was chosen.
    """

    name: str
    driver: str
    description: str
    available: bool
    reason: str = ""

    @property
    def is_software(self) -> bool:
        """Whether a GPU interface is emulated on the processor."""
        return "llvmpipe" in self.description.lower() or "swiftshader" in self.description.lower()


_MISSING = {
    "vulkan": "no Vulkan device was found. On Debian and Ubuntu install a driver with "
    "`apt-get install mesa-vulkan-drivers libvulkan1`, or the driver of the GPU's maker",
    "cuda": "no CUDA device was found: libcuda.so of the NVIDIA driver is missing or sees no GPU",
    "hip": "no HIP device was found: libamdhip64.so of AMD ROCm is missing or sees no GPU",
    "metal": "Metal is part of macOS; this system is " + sys.platform,
}
_CPU_NAMES = {
    "cpu:local-sync": "on the calling thread: lowest latency for small steps",
    "cpu:local-task": "on a pool of threads: faster for large work",
}


def devices() -> list[DeviceInfo]:
    """Every device of this machine, then what is missing and how to get it.

    >>> devices()[0].name
    'cpu'
    """
    cpu = DeviceInfo("cpu", "cpu", f"this processor ({host_level()})", True)
    threads = [DeviceInfo(name, "cpu", text, True) for name, text in _CPU_NAMES.items()]
    found = [cpu, *threads]
    for driver in ("vulkan", "cuda", "hip", "metal"):
        found += _gpus(driver)
    found.append(DeviceInfo("vmvx", "vmvx", "portable bytecode, slow", True))
    reason = "" if has_jax() else f"JAX is not installed: {INSTALL}"
    found.append(DeviceInfo("xla", "xla", "XLA through jax.export", has_jax(), reason))
    return found


def _gpus(driver: str) -> list[DeviceInfo]:
    try:
        listed = list_devices(driver)
        reason = ""
    except RecurrentIreeError as error:
        listed = []
        text = " ".join(str(error.__cause__ or error).split())
        usual = "UNAVAILABLE" in text or "NOT_FOUND" in text
        reason = "" if usual else f" (IREE says: {text[:200]})"
    if not listed:
        return [DeviceInfo(driver, driver, "", False, _MISSING[driver] + reason)]
    names = [driver] if len(listed) == 1 else [f"{driver}:{i}" for i in range(len(listed))]
    return [
        DeviceInfo(name, driver, str(info.get("name", "")), True)
        for name, info in zip(names, listed, strict=True)
    ]


def driver_kind(device: str) -> str:
    """The driver of a device string; raises `DriverMissingError` for a word it does not know."""
    if not isinstance(device, str):
        raise ArgumentTypeError(
            f"device is a {type(device).__name__}; expected a string such as 'auto', or a Driver"
        )
    kind = device.partition(":")[0]
    if kind == "fake":
        raise ArgumentError(
            "device='fake' has no functions; give a rt.FakeDriver(functions={...}) instead"
        )
    if kind not in ("cpu", "vulkan", "cuda", "hip", "metal", "vmvx", "xla"):
        raise DriverMissingError(
            f"there is no device {device!r}; expected auto, cpu, cpu:local-sync, cpu:local-task, "
            "vulkan, vulkan:N, cuda, hip, metal, vmvx, xla or xla:PLATFORM"
        )
    return kind


def find_device(device: str) -> DeviceInfo:
    """The device that a string names; raises `DriverMissingError` that says what to install."""
    kind = driver_kind(device)
    rest = device.partition(":")[2]
    if kind == "cpu":
        if rest and device not in _CPU_NAMES:
            raise DriverMissingError(
                f"there is no device {device!r}; expected cpu, cpu:local-sync or cpu:local-task"
            )
        return DeviceInfo(device, "cpu", f"this processor ({host_level()})", True)
    if kind == "vmvx":
        return DeviceInfo(device, "vmvx", "portable bytecode, slow", True)
    if kind == "xla":
        if not has_jax():
            raise DriverMissingError(f"the device {device!r} needs JAX: {INSTALL}")
        return DeviceInfo(device, "xla", "XLA through jax.export", True)
    return _find_gpu(device, kind, rest)


def _find_gpu(device: str, kind: str, rest: str) -> DeviceInfo:
    found = _gpus(kind)
    if not found[0].available:
        raise DriverMissingError(f"the device {device!r} is missing: {found[0].reason}")
    paths = [str(info.get("path", "")) for info in list_devices(kind)]
    index = 0
    if rest.isdecimal():
        index = int(rest)
    elif rest in paths:
        index = paths.index(rest)
    elif rest:
        index = len(found)
    if index >= len(found):
        raise DriverMissingError(
            f"there is no device {device!r}; this machine has {', '.join(d.name for d in found)}"
        )
    return DeviceInfo(device, kind, found[index].description, True)


def gpu_index(info: DeviceInfo) -> int:
    """Which of the driver's devices it is."""
    rest = info.name.partition(":")[2]
    if rest.isdecimal() or not rest:
        return int(rest or 0)
    return [str(d.get("path", "")) for d in list_devices(info.driver)].index(rest)


def make_driver(info: DeviceInfo, uri: str | None = None, keep_memory: bool = False) -> Driver:
    """The driver that runs on a device; `uri` forces one of the two CPU ways."""
    if info.driver == "xla":
        return XlaDriver(info.name.partition(":")[2] or None)
    if info.driver in ("cpu", "vmvx"):
        return IreeDriver(info.name, uri or "local-sync", info.description, keep_memory)
    path = str(list_devices(info.driver)[gpu_index(info)].get("path", ""))
    return IreeDriver(
        info.name, f"{info.driver}://{path}" if path else info.driver, info.description
    )
