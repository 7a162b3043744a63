"""Arrays between NumPy and IREE's buffers: element types, the module's edge, copies to host."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import iree.runtime as ireert
import numpy as np

from recurrent_iree_runtime._dtypes import dtype_name, dtype_of
from recurrent_iree_runtime._errors import ArtifactError

from ._base import ArraySpec

_ELEMENTS = {
    "bool": "BOOL_8",
    "int8": "SINT_8",
    "int16": "SINT_16",
    "int32": "SINT_32",
    "int64": "SINT_64",
    "uint8": "UINT_8",
    "uint16": "UINT_16",
    "uint32": "UINT_32",
    "uint64": "UINT_64",
    "float16": "FLOAT_16",
    "float32": "FLOAT_32",
    "float64": "FLOAT_64",
    "complex64": "COMPLEX_64",
    "complex128": "COMPLEX_128",
    "bfloat16": "BFLOAT_16",
    "float8_e4m3fn": "FLOAT_8_E4M3_FN",
    "float8_e4m3fnuz": "FLOAT_8_E4M3_FNUZ",
    "float8_e5m2": "FLOAT_8_E5M2",
    "float8_e5m2fnuz": "FLOAT_8_E5M2_FNUZ",
}


def element_type_of(name: str) -> Any:
    """IREE's element type of a manifest dtype."""
    if name not in _ELEMENTS:
        raise ArtifactError(f"dtype {name!r} cannot be passed to IREE; give it another edge in abi")
    return getattr(ireert.HalElementType, _ELEMENTS[name])


@cache
def plain_dtype_of(name: str) -> np.dtype:
    """A dtype of the same bytes that the buffer protocol knows."""
    dtype = dtype_of(name)
    return dtype if dtype.kind in "biufc" else np.dtype(f"uint{8 * dtype.itemsize}")


def to_plain(array: np.ndarray, edge: str | None) -> np.ndarray:
    """An array as it goes to IREE: converted to the edge's dtype, its bytes as a plain dtype."""
    if edge is not None:
        array = array.astype(dtype_of(edge))
    plain = plain_dtype_of(dtype_name(array.dtype))
    return array if plain == array.dtype else array.view(plain)


class Staging:
    """Copies from device memory that the host cannot map, through one host buffer per result.

    IREE's own `to_host` fails on Vulkan: it imports host memory that is not page-aligned.
    """

    _MEMORY = int(ireert.MemoryType.HOST_LOCAL | ireert.MemoryType.DEVICE_VISIBLE)
    _USAGE = int(ireert.BufferUsage.TRANSFER_TARGET | ireert.BufferUsage.MAPPING_SCOPED)

    def __init__(self, device: Any, count: int) -> None:
        self._buffers: list[Any] = [None] * count
        self._sizes = [-1] * count
        self._device = device  # last, so that the buffers are freed before it

    def fetch(self, views: Sequence[Any]) -> list[Any]:
        """Host buffers with the bytes of the views; valid until the next fetch."""
        pending = [(i, view.get_buffer()) for i, view in enumerate(views) if view.byte_length]
        if pending:
            device = self._device
            semaphore = device.create_semaphore(0)
            for step, (i, source) in enumerate(pending):
                device.queue_copy(
                    source,
                    self._buffer(i, source.byte_length()),
                    wait_semaphores=ireert.HalFence.create_at(semaphore, step),
                    signal_semaphores=ireert.HalFence.create_at(semaphore, step + 1),
                )
            ireert.HalFence.create_at(semaphore, len(pending)).wait()
        return self._buffers

    def _buffer(self, i: int, size: int) -> Any:
        if self._sizes[i] != size:
            allocate = self._device.allocator.allocate_buffer
            self._buffers[i] = allocate(
                memory_type=self._MEMORY, allowed_usage=self._USAGE, allocation_size=size
            )
            self._sizes[i] = size
        return self._buffers[i]


_Plan = tuple[tuple[int, ...] | None, np.dtype, Any]
"""The shape that the caller sees if it is known, the dtype of the bytes, the conversion."""


class Reader:
    """Copies a call's results into new host arrays of the shapes that the caller sees."""

    def __init__(
        self, device: Any, local: bool, specs: Sequence[ArraySpec], abi: Mapping[str, str]
    ) -> None:
        self._staging = None if local else Staging(device, len(specs))
        self._plans = [self._plan(spec, abi) for spec in specs]
        easy = [
            (shape, dtype)
            for shape, dtype, convert in self._plans
            if convert is None and shape is not None and 0 not in shape
        ]
        self._easy = easy if local and len(easy) == len(specs) else None
        self.simple: list[tuple[tuple[int, ...], np.dtype]] | None = None
        """Shape and dtype of each result, once checked, if all are read as they are."""
        self._unchecked: tuple[Sequence[ArraySpec], Mapping[str, str]] | None = (specs, abi)

    @staticmethod
    def _plan(spec: ArraySpec, abi: Mapping[str, str]) -> _Plan:
        edge = abi.get(spec.dtype, spec.dtype)
        shape = None if None in spec.seen else tuple(n for n in spec.seen if n is not None)
        plain, final = plain_dtype_of(edge), dtype_of(spec.dtype)
        reshape = spec.view is not None and shape is None
        if edge == spec.dtype and plain == final and not reshape:
            return shape, plain, None
        raw, view = dtype_of(edge), [-1 if n is None else n for n in spec.seen]

        def convert(array: np.ndarray) -> np.ndarray:
            result = array.view(raw).astype(final)
            return result.reshape(view) if reshape else result

        return shape, plain, convert

    def read(self, views: Sequence[Any]) -> list[np.ndarray]:
        """One new array per view; nothing shares memory with the device."""
        if self.simple is not None:  # MappedMemory.asarray takes a microsecond more
            return [
                np.ndarray(shape, dtype, view.map()).copy()
                for view, (shape, dtype) in zip(views, self.simple, strict=True)
            ]
        if self._unchecked is not None:
            check_views(views, *self._unchecked)
            self._unchecked, self.simple = None, self._easy
        sources = views if self._staging is None else self._staging.fetch(views)
        return [
            self._read_one(view, source, plan)
            for view, source, plan in zip(views, sources, self._plans, strict=True)
        ]

    @staticmethod
    def _read_one(view: Any, source: Any, plan: _Plan) -> Any:
        shape, dtype, convert = plan
        shape = tuple(view.shape) if shape is None else shape
        if view.byte_length == 0:
            array = np.empty(shape, dtype)
        else:
            array = np.ndarray(shape, dtype, source.map()).copy()
        return array if convert is None else convert(array)


def check_views(views: Sequence[Any], specs: Sequence[ArraySpec], abi: Mapping[str, str]) -> None:
    """Refuse, with `ArtifactError`, results that are not what the manifest says."""
    for view, spec in zip(views, specs, strict=True):
        shape = list(view.shape)
        fits = len(shape) == len(spec.shape) and all(
            want is None or size == want for size, want in zip(shape, spec.shape, strict=True)
        )
        itemsize = dtype_of(abi.get(spec.dtype, spec.dtype)).itemsize
        if not fits or view.byte_length != math.prod(shape) * itemsize:
            raise ArtifactError(
                f"the module gives an array of shape {shape} and {view.byte_length} bytes; its "
                f"manifest says {spec.dtype}{list(spec.shape)}. The artifact is not whole"
            )
