"""IREE's device objects: opened once per process, and opened anew after a device was lost.

A Vulkan device lives as long as what was loaded on it: Mesa's software driver keeps two threads of
IREE's device busy for as long as it exists, also when nothing runs. Other devices stay open:
IREE crashes if buffers of theirs outlive them.
"""

import ctypes
import os
import re
import threading
import weakref
from typing import Any

import iree.runtime as ireert
from iree.runtime import _binding as binding

from recurrent_iree_runtime._errors import DeviceError
from recurrent_iree_runtime._process import leak

from ._iree_errors import IREE_ERRORS, mapped
from ._iree_memory import KEEPING, Lease, plain


class Opened:
    """A device object that can be referred to weakly; who holds it keeps the device open."""

    def __init__(self, driver: Any, device: Any, keeps: bool) -> None:
        self.device = device
        self._lease: weakref.ref[Lease] | None = None
        self._keeps = keeps
        self._driver = driver  # last, so that it is freed after its device

    def lease(self) -> Lease | None:
        """What a user of the device must hold while it is used; ``None`` if it keeps nothing."""
        if not self._keeps:
            return None
        with _lock:
            found = self._lease and self._lease()
            if found is None:
                found = Lease(self.device.allocator)
                self._lease = weakref.ref(found)
            return found


_lock = threading.Lock()
_devices: weakref.WeakValueDictionary[str, Opened] = weakref.WeakValueDictionary()
_kept: list[Opened] = []
_lost: list[Opened] = []  # kept: IREE crashes if buffers of a device outlive the device object
_left_behind: set[str] = set()
_instance: Any = None
_forked = False


def vm_instance() -> Any:
    """The process-wide virtual machine instance."""
    global _instance
    with _lock:
        if _instance is None:
            _instance = ireert.VmInstance()
        return _instance


def _driver(uri: str) -> Any:
    """IREE's driver of that URI: the one of the process, or a new one in a forked child.

    The devices of a driver share an allocator, and a thread of the parent that was allocating at
    the moment of the fork left its mutex locked in the child for ever.
    """
    create: Any = getattr(binding, "create_hal_driver")  # noqa: B009, the type stub lacks it
    return create(uri) if _forked else ireert.get_driver(uri)


def open_device(name: str) -> Opened:
    """IREE's device of that URI, or one that keeps memory; see `_iree_memory`.

    Raises `DriverMissingError` or `DeviceError`.
    """
    uri, keeps = plain(name)
    if not survives_fork(uri):
        raise DeviceError(
            f"the device {uri!r} was opened before this process was forked, and its threads did "
            'not come along; start processes with multiprocessing.get_context("spawn")'
        )
    with _lock:
        opened = _devices.get(name)
        if opened is None:
            try:
                driver: Any = _driver(uri)
                options = {"allocators": list(KEEPING)} if keeps else {}
                opened = Opened(driver, driver.create_device_by_uri(uri, **options), keeps)
            except IREE_ERRORS as error:
                raise mapped(error, f"opening the device {uri!r}") from error
            _devices[name] = opened
            if not uri.startswith("vulkan"):
                _kept.append(opened)
        return opened


def forget_device(uri: str) -> None:
    """After a device was lost: open a new device object at the next load."""
    with _lock:
        opened = _devices.pop(uri, None)
        if opened is not None:
            _lost.append(opened)


def list_devices(driver: str) -> list[dict[str, Any]]:
    """What the driver sees, each with `path` and `name`; raises `DriverMissingError`."""
    try:
        return list(_driver(driver).query_available_devices())
    except IREE_ERRORS as error:
        raise mapped(error, f"asking the driver {driver!r} for its devices") from error


def survives_fork(uri: str) -> bool:
    """Whether a device can be opened here: not if a parent process opened its driver's threads."""
    return _family(uri) not in _left_behind


def _family(name: str) -> str:
    return plain(name)[0].partition(":")[0]


def _after_fork() -> None:
    """In a forked child: leave the parent's devices alone, and open new ones on demand."""
    global _lock, _instance, _forked
    _lock, _forked = threading.Lock(), True
    leak(_instance)
    _instance = None
    if _devices or _lost:
        binding.disable_leak_checker()
    for opened in (*_devices.values(), *_lost):
        leak(opened)
    _left_behind.update({*map(_family, _devices)} - {"local-sync"})
    _devices.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def cuda_capability(index: int) -> int | None:
    """Compute capability of a CUDA device as in `sm_80`: 80; `None` if CUDA does not tell."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    major, minor, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    calls = [
        (cuda.cuInit, (0,)),
        (cuda.cuDeviceGet, (ctypes.byref(device), index)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(major), 75, device)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(minor), 76, device)),
    ]
    for function, arguments in calls:
        if function(*arguments) != 0:
            return None
    return 10 * major.value + minor.value


_VULKAN_FAMILIES = {
    "llvmpipe": r"llvmpipe",
    "nvidia": r"nvidia|geforce|quadro|tesla|rtx|gtx|\b[ahbl]\d{2,3}0?\b",
    "amd": r"\bamd\b|radeon|instinct",
    "adreno": r"adreno|qualcomm",
    "mali": r"mali|immortalis",
}
_VULKAN_TARGETS = [
    (r"llvmpipe", "llvmpipe"),
    (r"ampere|ada|turing|pascal|volta|blackwell|hopper|sm_\d+|rtx\w*|gtx\w*", "nvidia"),
    (r"rdna\d*|gfx\w+|rx\w+|cdna\d*|gcn\w*", "amd"),
    (r"adreno[\w-]*", "adreno"),
    (r"valhall\d*|mali[\w-]*|bifrost", "mali"),
]


def vulkan_mismatch(target: str, device_name: str) -> str | None:
    """Why a module for a Vulkan target cannot run on a device; `None` if it can.

    A module for another GPU loads without complaint and may give wrong numbers.
    """
    families = [family for pattern, family in _VULKAN_TARGETS if re.fullmatch(pattern, target)]
    is_software = "llvmpipe" in device_name.lower()
    if not families:
        if is_software:
            return f"it is compiled for {target!r}, and this device needs 'vulkan:llvmpipe'"
        return None
    if not re.search(_VULKAN_FAMILIES[families[0]], device_name.lower()):
        return f"it is compiled for {target!r}, and this device is {device_name!r}"
    return None
