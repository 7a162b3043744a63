"""One bound function of IREE: everything that can be made before a call is made before it.

A step of a small program takes some microseconds, of which Python's part is about a half, so what
runs in each call avoids frames: a single input and a single output have code of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import iree.runtime as ireert
import numpy as np

from recurrent_iree_runtime._dtypes import dtype_of
from recurrent_iree_runtime._errors import RecurrentIreeError, StateError

from ._base import ArraySpec, Buffer, Call, Signature
from ._iree_arrays import Reader, check_views, element_type_of, plain_dtype_of, to_plain
from ._iree_errors import IREE_ERRORS
from ._iree_wait import wait_patiently

if TYPE_CHECKING:
    from ._iree import IreeExecutable

MEMORY = int(ireert.MemoryType.DEVICE_LOCAL)  # ints, which the bindings take in less time
USAGE = int(ireert.BufferUsage.DEFAULT)

_List: Any = ireert.VmVariantList
_View: Any = ireert.HalBufferView
_Ref: Any = ireert.VmRef


def view_of(buffer: Buffer) -> Any:
    """The buffer view in a state; a call returns references, which are made in less time."""
    return buffer.deref(_View) if isinstance(buffer, _Ref) else buffer


def bound_call(exe: "IreeExecutable", function: Any, signature: Signature) -> Call:
    """The hot path: every name is local, every object that can be made beforehand is made."""
    lock, lists = exe.lock, _List
    pack = _packer(exe, signature)
    results = len(signature.outputs) + len(signature.states_out)
    state_places = tuple(range(len(signature.outputs), results))
    first = _outputs_reader(exe, signature)
    read: Callable[[Any], list[np.ndarray]] | None = None
    doing = f"the call of {signature.symbol!r}"
    pool = exe.uri == "local-task"

    def call(
        given: Sequence[np.ndarray], states: Sequence[Buffer]
    ) -> tuple[list[np.ndarray], list[Buffer]]:
        nonlocal read
        try:
            with lock:
                context = exe.context
                if context is None:
                    raise StateError("the model was closed; load the artifact again")
                packed = pack(given, states)
                returned = lists(results)
                if pool:
                    wait_patiently(context.invoke, function, packed, returned)
                else:
                    context.invoke(function, packed, returned)
                if read is None:
                    read = first(returned)
                return read(returned), list(map(returned.get_as_ref, state_places))
        except RecurrentIreeError:
            raise
        except IREE_ERRORS as error:
            raise exe.failure(error, doing) from error

    return call


def _outputs_reader(
    exe: "IreeExecutable", signature: Signature
) -> Callable[[Any], Callable[[Any], list[np.ndarray]]]:
    """Checks the results of the first call, and gives what reads the outputs of all calls.

    No object here refers to itself: garbage in a cycle would keep the device open.
    """
    reader = Reader(exe.device, exe.local, signature.outputs, exe.abi)
    abi, outputs = exe.abi, range(len(signature.outputs))
    states = range(len(outputs), len(outputs) + len(signature.states_out))

    def read(returned: Any) -> list[np.ndarray]:
        get = returned.get_as_object
        return reader.read([get(i, _View) for i in outputs])

    def first(returned: Any) -> Callable[[Any], list[np.ndarray]]:
        views = [returned.get_as_object(i, _View) for i in states]
        check_views(views, signature.states_out, abi)
        read(returned)
        simple = reader.simple
        return _read_one(*simple[0]) if simple and len(simple) == 1 else read

    return first


def _read_one(shape: tuple[int, ...], dtype: np.dtype) -> Callable[[Any], list[np.ndarray]]:
    array, view = np.ndarray, _View

    def read(returned: Any) -> list[np.ndarray]:
        return [array(shape, dtype, returned.get_as_object(0, view).map()).copy()]

    return read


def _packer(exe: "IreeExecutable", signature: Signature) -> Callable[[Any, Any], Any]:
    """A function that makes the argument list of a call."""
    lists, device = _List, exe.device
    allocate = device.allocator.allocate_buffer_copy
    plans = [input_plan(spec, exe.abi) for spec in signature.inputs]
    count = len(signature.inputs) + len(signature.states_in)

    def pack(given: Sequence[np.ndarray], states: Sequence[Buffer]) -> Any:
        packed = lists(count)
        push = packed.push_ref
        for array, (prepare, element) in zip(given, plans, strict=True):
            if prepare is not None:
                array = prepare(array)
            push(allocate(MEMORY, USAGE, device, array, element))
        for state in states:
            push(state)
        return packed

    if len(plans) != 1:
        return pack
    prepare, element = plans[0]

    def pack_one(given: Sequence[np.ndarray], states: Sequence[Buffer]) -> Any:
        packed = lists(count)
        push = packed.push_ref
        array = given[0] if prepare is None else prepare(given[0])
        push(allocate(MEMORY, USAGE, device, array, element))
        for state in states:
            push(state)
        return packed

    return pack_one


def input_plan(spec: ArraySpec, abi: Mapping[str, str]) -> tuple[Any, Any]:
    """`(prepare, element type)`: how a host array becomes what the function takes."""
    edge = abi.get(spec.dtype, spec.dtype)
    element = element_type_of(edge)
    widen = None if spec.view is None else itemgetter(_new_axis(spec.shape, spec.view))
    if edge == spec.dtype and plain_dtype_of(edge) == dtype_of(edge):
        return widen, element

    def prepare(array: np.ndarray) -> np.ndarray:
        plain = to_plain(array, None if edge == spec.dtype else edge)
        return plain if widen is None else widen(plain)

    return prepare, element


def _new_axis(
    shape: tuple[int | None, ...], view: tuple[int | None, ...]
) -> tuple[slice | None, ...]:
    """An index that puts back the axis of length 1 that callers do not see."""
    axes = (i for i, size in enumerate(shape) if size == 1)
    axis = next(i for i in axes if shape[:i] + shape[i + 1 :] == view)
    return (*[slice(None)] * axis, None)
