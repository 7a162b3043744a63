"""Every error of IREE becomes one of ours, with the original as its cause."""

import inspect

import iree.runtime as ireert
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._drivers._iree_errors import IREE_ERRORS, STATUS, mapped

# iree/base/status.h of IREE 3.13, without OK
CODES = (
    "CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED "
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED DEFERRED INCOMPATIBLE"
).split()


def test_every_status_code_is_mapped():
    assert sorted(STATUS) == sorted(CODES)


def test_the_binding_has_no_code_that_is_not_mapped():
    """IREE's library holds the names of its status codes one after the other."""
    from iree.runtime import _binding

    library = open(inspect.getfile(_binding._runtime), "rb").read() if hasattr(  # noqa: SIM115
        _binding, "_runtime") else b""  # fmt: skip
    for code in CODES:
        assert not library or code.encode() in library


@pytest.mark.parametrize("code", CODES)
def test_a_code_gives_its_class_and_drops_the_source_path(code):
    error = RuntimeError(f"Error invoking function: c/runtime/src/iree/vm/x.c:12: {code}; oh no")
    ours = mapped(error, "the call of 'f' on local-sync")
    assert type(ours) is STATUS[code][0]
    assert str(ours).startswith("the call of 'f' on local-sync failed: ")
    assert "oh no" in str(ours) and "c/runtime" not in str(ours)


SPECIAL = [
    ("INTERNAL; VK_ERROR_DEVICE_LOST; vkQueueSubmit", rt.DeviceLostError),
    ("INTERNAL; CUDA_ERROR_ILLEGAL_ADDRESS", rt.DeviceLostError),
    ("INTERNAL; CUDA_ERROR_OUT_OF_MEMORY", rt.DeviceError),
    ("INVALID_ARGUMENT; bytecode version mismatch; runtime supports 17.0", rt.VersionError),
    ("INVALID_ARGUMENT; required module features not available", rt.VersionError),
    ("something without a code", rt.DeviceError),
]


@pytest.mark.parametrize("text, cls", SPECIAL)
def test_special_messages(text, cls):
    ours = mapped(RuntimeError(text), "loading")
    assert type(ours) is cls
    if cls is rt.VersionError:
        assert "recurrent-iree recompile FILE" in str(ours)


def test_out_of_memory():
    assert "out of memory" in str(mapped(MemoryError(), "loading"))


def test_every_class_that_the_bindings_raise_is_caught():
    from iree.runtime import function

    for cls in (RuntimeError, ValueError, IndexError, KeyError, TypeError, NotImplementedError,
                SystemError, MemoryError, OSError, OverflowError and ArithmeticError):  # fmt: skip
        if cls is not ArithmeticError:
            assert issubclass(cls, IREE_ERRORS)
    for name in dir(ireert):
        thing = getattr(ireert, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, IREE_ERRORS), name
    assert issubclass(function.ArgumentError, IREE_ERRORS)
    assert issubclass(function.ReturnError, IREE_ERRORS)
