"""IREE's errors as errors of our tree: the one place where they are mapped."""

import re

from recurrent_iree_runtime._errors import (
    ArtifactError,
    DeviceError,
    DeviceLostError,
    DriverMissingError,
    RecurrentIreeError,
    VersionError,
)

IREE_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    SystemError,
    MemoryError,
    OSError,
)
"""Every class that IREE's bindings raise; ours derive from some of them, so catch ours first."""

_REBUILD = "Rebuild the artifact for this IREE with `recurrent-iree recompile FILE`"

STATUS: dict[str, tuple[type[RecurrentIreeError], str]] = {
    "CANCELLED": (DeviceError, "the call was cancelled"),
    "UNKNOWN": (DeviceError, "the driver failed for a reason it does not name"),
    "INVALID_ARGUMENT": (DeviceError, "the driver refused an argument"),
    "DEADLINE_EXCEEDED": (DeviceError, "the device did not answer in time"),
    "NOT_FOUND": (ArtifactError, "the module asks for something that is not there"),
    "ALREADY_EXISTS": (DeviceError, "the driver has this object already"),
    "PERMISSION_DENIED": (DeviceError, "the system does not allow access to the device"),
    "RESOURCE_EXHAUSTED": (DeviceError, "the device is out of memory"),
    "FAILED_PRECONDITION": (DeviceError, "the module cannot run in this state"),
    "ABORTED": (DeviceLostError, "the device stopped the call"),
    "OUT_OF_RANGE": (ArtifactError, "the module reads past the end of its weights or inputs"),
    "UNIMPLEMENTED": (DeviceError, "the driver cannot do what the module needs"),
    "INTERNAL": (DeviceError, "the driver failed inside"),
    "UNAVAILABLE": (DriverMissingError, "the driver or device is not available"),
    "DATA_LOSS": (DeviceLostError, "the device was lost"),
    "UNAUTHENTICATED": (DeviceError, "the system does not allow access to the device"),
    "DEFERRED": (DeviceError, "the driver did not finish"),
    "INCOMPATIBLE": (DeviceError, "the module was compiled for another kind of device"),
}
"""Each status code of IREE: our class and what it means. A test compares it with IREE's own."""

_SPECIAL: list[tuple[str, type[RecurrentIreeError], str]] = [
    ("VK_ERROR_DEVICE_LOST|CUDA_ERROR_(ILLEGAL_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|UNKNOWN)",
     DeviceLostError, "the device was lost"),
    ("VK_ERROR_OUT_OF_DEVICE_MEMORY|CUDA_ERROR_OUT_OF_MEMORY", DeviceError,
     "the device is out of memory"),
    ("bytecode version mismatch|required module features|newer than this runtime", VersionError,
     f"the module was compiled for another version of IREE. {_REBUILD}"),
]  # fmt: skip


def mapped(error: Exception, doing: str) -> RecurrentIreeError:
    """The error of our tree for an error of IREE; raise it `from` the original.

    `doing` says what was tried, for example `"loading the module for cpu"`.
    """
    text = " ".join(str(error).split())
    for pattern, special, meaning in _SPECIAL:
        if re.search(pattern, text):
            return special(f"{doing} failed: {meaning}. {_detail(text)}")
    if isinstance(error, MemoryError):
        return DeviceError(f"{doing} failed: out of memory")
    found = re.search(r"\b(" + "|".join(STATUS) + r")\b;?", text)
    if found:
        cls, meaning = STATUS[found.group(1)]
        return cls(f"{doing} failed: {meaning}. {_detail(text)}")
    return DeviceError(f"{doing} failed. {_detail(text)}")


def _detail(text: str) -> str:
    """IREE's own words, without its source paths and cut to a readable length."""
    text = re.sub(r"\S*c/runtime/\S+?:\d+: ", "", text)
    return f"IREE says: {text[:300]}"
