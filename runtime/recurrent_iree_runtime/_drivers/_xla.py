"""XLA: runs the `jax.export` blobs of an artifact. The only place that imports JAX, and lazily."""

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recurrent_iree_runtime._dtypes import dtype_of
from recurrent_iree_runtime._errors import (
    ArtifactError,
    DeviceError,
    DriverMissingError,
    NoVariantError,
    StateError,
)
from recurrent_iree_runtime._manifest import Module

from ._base import ArraySpec, Buffer, Call, Driver, Executable, Signature

INSTALL = "pip install recurrent-iree-runtime[xla]"


def has_jax() -> bool:
    """Whether JAX is installed; it is not imported."""
    return importlib.util.find_spec("jax") is not None


def _import_jax() -> Any:
    if not has_jax():
        raise DriverMissingError(f"the driver 'xla' needs JAX, which is not installed: {INSTALL}")
    try:
        import jax
        import jax.export
    except ImportError as error:
        raise DriverMissingError(f"JAX cannot be imported: {error}. Try {INSTALL}") from error
    return jax


class XlaDriver(Driver):
    """Runs on JAX's default device, or on the first of a platform: cpu, cuda, tpu."""

    name = "xla"
    description = "XLA through jax.export"

    def __init__(self, platform: str | None = None) -> None:
        jax = _import_jax()
        self.name = "xla" if platform is None else f"xla:{platform}"
        try:
            self.device = jax.devices(platform)[0]
        except RuntimeError as error:
            raise DriverMissingError(
                f"JAX has no device of the platform {platform!r}; it has {jax.default_backend()!r}"
            ) from error
        self.description = f"XLA on {self.device.device_kind}"

    def load(
        self,
        module: Module | None,
        read_member: Callable[[str], memoryview],
        weights: Mapping[str, np.ndarray],
    ) -> "XlaExecutable":
        """Put the weights on the device; functions are read when they are bound."""
        if module is None or module.driver != "xla":
            raise ArtifactError("there is no jax.export module to load on XLA")
        return XlaExecutable(self.device, module, read_member, weights)


class XlaExecutable(Executable):
    """The functions of one artifact on one JAX device."""

    def __init__(
        self,
        device: Any,
        module: Module,
        read_member: Callable[[str], memoryview],
        weights: Mapping[str, np.ndarray],
    ) -> None:
        self._jax = _import_jax()
        self._device = device
        self._module = module
        self._read_member = read_member
        self._lock = threading.Lock()
        self._wide = any(a.dtype.itemsize == 8 for a in weights.values())
        with self._precision(self._wide):
            self._weights: list[Any] | None = [self._put(array) for array in weights.values()]

    def _precision(self, wide: bool) -> contextlib.AbstractContextManager[Any]:
        return self._jax.enable_x64(True) if wide else contextlib.nullcontext()

    def _put(self, array: np.ndarray) -> Any:
        return self._jax.device_put(np.array(array), self._device)

    def bind(self, signature: Signature) -> Call:
        """Deserialise the function's blob, whose hash has been checked, and compile it."""
        member = self._module.functions_xla.get(signature.symbol)
        if member is None:
            raise ArtifactError(f"the artifact has no jax.export blob for {signature.symbol!r}")
        data = bytearray(self._read_member(member))
        try:
            exported = self._jax.export.deserialize(data)
        except (ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"JAX cannot read the blob of {signature.symbol!r}") from error
        platform = {"gpu": "cuda"}.get(self._device.platform, self._device.platform)
        if platform not in exported.platforms:
            raise NoVariantError(
                f"the XLA blob is exported for {', '.join(exported.platforms)}; this device is "
                f"{platform!r}. Compile the program again with the target 'xla:{platform}'"
            )
        return self._bound(self._jax.jit(exported.call), signature)

    def _bound(self, function: Any, signature: Signature) -> Call:
        shapes = [[-1 if n is None else n for n in s.shape] for s in signature.inputs]
        specs = (*signature.inputs, *signature.states_in)
        wide = self._wide or any(dtype_of(s.dtype).itemsize == 8 for s in specs)
        outputs = len(signature.outputs)

        def call(
            inputs: Sequence[np.ndarray], states: Sequence[Buffer]
        ) -> tuple[list[np.ndarray], list[Buffer]]:
            with self._lock, self._precision(wide):
                if self._weights is None:
                    raise StateError("the model was closed; load the artifact again")
                given = [self._put(a.reshape(s)) for a, s in zip(inputs, shapes, strict=True)]
                try:
                    results = list(function(*self._weights, *given, *states))
                    host = self._read(results[:outputs], signature.outputs)
                except (RuntimeError, ValueError, TypeError) as error:
                    raise DeviceError(f"XLA failed in {signature.symbol!r}: {error}") from error
                return host, results[outputs:]

        return call

    def _read(self, results: Sequence[Any], specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        arrays = []
        for result, spec in zip(results, specs, strict=True):
            array = np.array(result)
            if spec.view is not None:
                array = array.reshape([-1 if n is None else n for n in spec.view])
            arrays.append(array)
        return arrays

    def to_device(self, arrays: Sequence[np.ndarray], specs: Sequence[ArraySpec]) -> list[Buffer]:
        """Copy states to the device."""
        with self._precision(any(a.dtype.itemsize == 8 for a in arrays)):
            return [self._put(array) for array in arrays]

    def to_host(self, states: Sequence[Buffer], specs: Sequence[ArraySpec]) -> list[np.ndarray]:
        """Copy states to the host."""
        return [np.array(state) for state in states]

    def close(self) -> None:
        """Drop the weights."""
        with self._lock:
            self._weights = None
