"""IREE: modules and their weights on a device."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import iree.runtime as ireert
import numpy as np

from recurrent_iree_runtime._errors import (
    ArtifactError,
    DeviceLostError,
    RecurrentIreeError,
)
from recurrent_iree_runtime._manifest import Module

from ._base import ArraySpec, Buffer, Call, Driver, Executable, Signature
from ._iree_arrays import Reader, to_plain
from ._iree_call import MEMORY, USAGE, bound_call, input_plan, view_of
from ._iree_devices import Opened, forget_device, open_device, vm_instance
from ._iree_errors import IREE_ERRORS, mapped
from ._iree_memory import keeping
from ._iree_pages import huge_pages

_LOCAL_URIS = ("local-sync", "local-task")


class IreeDriver(Driver):
    """Runs `.vmfb` modules on one IREE device, named by its URI.

    With `keep_memory` it is one that keeps the memory of a call for the next one; CPUs only.
    """

    def __init__(
        self, name: str, uri: str, description: str = "", keep_memory: bool = False
    ) -> None:
        self.name = name
        self.uri = uri
        self.description = description
        self._device = keeping(uri) if keep_memory and uri in _LOCAL_URIS else uri

    def load(
        self,
        module: Module | None,
        read_member: Callable[[str], memoryview],
        weights: Mapping[str, np.ndarray],
    ) -> "IreeExecutable":
        """Load a module whose bytes have been checked; the weights are shared, not copied."""
        if module is None or module.member is None:
            raise ArtifactError(f"there is no IREE module to load on {self.name!r}")
        opened = open_device(self._device)
        return IreeExecutable(self.uri, opened, module, read_member(module.member), weights)


class IreeExecutable(Executable):
    """One VM context. Its lock lets one call run at a time, because IREE does not."""

    def __init__(
        self,
        uri: str,
        opened: Opened,
        module: Module,
        code: memoryview,
        weights: Mapping[str, np.ndarray],
    ) -> None:
        self.uri = uri
        self.opened = opened
        self.device = device = opened.device
        self.abi = dict(module.abi)
        self.lock = threading.Lock()
        self.local = uri in _LOCAL_URIS
        instance = vm_instance()
        try:
            self._kept = (code, self._parameters(weights))
            self.module = ireert.VmModule.copy_buffer(instance, code)
            modules = [ireert.create_hal_module(instance, device)]
            if self._kept[1] is not None:
                provider = self._kept[1][0].create_provider(scope="weights")
                modules.append(ireert.create_io_parameters_module(instance, provider))
            modules.append(self.module)
            with huge_pages(weights if uri == "local-sync" else {}):
                self.context: Any = ireert.VmContext(instance, modules=modules)
            self._lease = opened.lease()  # last, so that it ends after what it is for
        except RecurrentIreeError:
            raise
        except IREE_ERRORS as error:
            raise self.failure(error, f"loading the module for {module.target!r}") from error

    def _parameters(self, weights: Mapping[str, np.ndarray]) -> tuple[Any, list[np.ndarray]] | None:
        if not weights:
            return None
        index, kept = ireert.ParameterIndex(), []
        for name, array in weights.items():
            plain = to_plain(array, self.abi.get(array.dtype.name))
            flat = _aligned_bytes(plain)
            index.add_buffer(name, flat)
            kept.append(flat)
        return index, kept

    def failure(self, error: Exception, doing: str) -> RecurrentIreeError:
        """The error of our tree; a lost device is opened anew by the next load."""
        ours = mapped(error, f"{doing} on {self.uri}")
        if isinstance(ours, DeviceLostError):
            forget_device(self.uri)
        return ours

    def bind(self, signature: Signature) -> Call:
        """Look the function up once and precompute all that a call needs."""
        function = self.module.lookup_function(signature.symbol)
        if function is None:
            raise ArtifactError(
                f"the module has no function {signature.symbol!r}; it was changed or its manifest "
                "belongs to another module"
            )
        return bound_call(self, function, signature)

    def to_device(self, arrays: Sequence[np.ndarray], specs: Sequence[ArraySpec]) -> list[Buffer]:
        """Copy states into device memory."""
        return self.bind_states(specs)[0](arrays)

    def to_host(self, states: Sequence[Buffer], specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        """Copy states into new host arrays."""
        return self.bind_states(specs)[1](states)

    def bind_states(
        self, specs: Sequence[ArraySpec]
    ) -> tuple[Callable[[Sequence[np.ndarray]], list[Buffer]],
               Callable[[Sequence[Buffer]], list[np.ndarray]]]:  # fmt: skip
        """Both ways, with what they need computed once."""
        reader = Reader(self.device, self.local, specs, self.abi)
        plans = [input_plan(spec, self.abi) for spec in specs]
        device, allocate = self.device, self.device.allocator.allocate_buffer_copy

        def put(arrays: Sequence[np.ndarray]) -> list[Buffer]:
            buffers = []
            try:
                with self.lock:
                    for array, (prepare, element) in zip(arrays, plans, strict=True):
                        if not array.flags.c_contiguous:
                            array = array.copy(order="C")
                        if prepare is not None:
                            array = prepare(array)
                        buffers.append(allocate(MEMORY, USAGE, device, array, element))
            except IREE_ERRORS as error:
                raise self.failure(error, "copying states to the device") from error
            return buffers

        def get(states: Sequence[Buffer]) -> list[np.ndarray]:
            try:
                with self.lock:
                    return reader.read([view_of(state) for state in states])
            except IREE_ERRORS as error:
                raise self.failure(error, "copying states to the host") from error

        return put, get

    def close(self) -> None:
        """Drop the context; its memory is free once no state of it is left."""
        with self.lock:
            self.context = self._lease = None


def _aligned_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array at a multiple of 64, where IREE can use them without a copy."""
    flat = np.frombuffer(np.ascontiguousarray(array).reshape(-1).view(np.uint8), np.uint8)
    if flat.ctypes.data % 64 == 0:
        return flat
    memory = np.empty(flat.size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    memory[start : start + flat.size] = flat
    return memory[start : start + flat.size]
