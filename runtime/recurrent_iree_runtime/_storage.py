"""Weights that the file holds in fewer bits than the program computes with: `metadata["storage"]`.

A weight in bfloat16 is the array rounded; one in int8 is whole numbers from -127 to 127, and a
float32 scale for each channel in an array beside it. Callers read and give float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ._codec import Count, Range, decode as decode_json, parse, refuse
from ._dtypes import dtype_name, dtype_of
from ._errors import ArgumentError, ArtifactError
from ._manifest import Manifest

KEY = "storage"
MOST = 127
# A product of 17 and 7 bits is exact in float32, so that packing again what was unpacked changes
# nothing.
_SCALE_BITS = 17
_SMALLEST = np.float32(2.0**-100)

Weights = Mapping[str, np.ndarray]
_Name = Annotated[str, Count(300)]
_Axis = Annotated[int, Range(0, 15)]


@dataclass(frozen=True)
class Stored:
    """How one weight is stored.

    `dtype` is what callers see. `scale` names the array of scales and `axes` are the axes of the
    weight that it runs along; a weight in bfloat16 has neither.
    """

    dtype: _Name
    scale: _Name | None
    axes: Annotated[tuple[_Axis, ...], Count(16)]


@dataclass(frozen=True)
class Storage:
    """The weights that are stored in fewer bits, by name."""

    weights: Annotated[dict[_Name, Stored], Count(10_000)]


def read_storage(manifest: Manifest) -> Storage:
    """What the manifest says, checked; raises `NotAnArtifactError` if it does not fit."""
    text = manifest.metadata.get(KEY)
    if text is None:
        return Storage({})
    where = f'manifest.json: $.metadata["{KEY}"]'
    document = parse(text.encode("ascii", "replace"), where)
    storage: Storage = decode_json(Storage, document, f"{where}: $")
    known = {w.name: w for w in manifest.weights}
    for name, stored in storage.weights.items():
        weight = known.get(name)
        wanted = "bfloat16" if stored.scale is None else "int8"
        if weight is None or stored.dtype != "float32" or weight.dtype != wanted:
            refuse(where, f"names the weight {name!r}, which the artifact does not have so")
        if stored.scale is None:
            continue
        scale = known.get(stored.scale)
        if any(axis >= len(weight.shape) for axis in stored.axes) or scale is None:
            refuse(where, f"has no scale for the weight {name!r}")
        shape = tuple(weight.shape[axis] for axis in stored.axes)
        if scale.shape != shape or scale.dtype != "float32":
            refuse(where, f"has a scale of another shape or dtype for the weight {name!r}")
    return storage


def seen(manifest: Manifest, storage: Storage) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each weight as callers see them, without scales."""
    scales = {stored.scale for stored in storage.weights.values()}
    return {
        w.name: (w.shape, storage.weights[w.name].dtype if w.name in storage.weights else w.dtype)
        for w in manifest.weights
        if w.name not in scales
    }


def unpack(storage: Storage, weights: Weights) -> dict[str, np.ndarray]:
    """Stored arrays as callers see them."""
    scales = {stored.scale for stored in storage.weights.values()}
    made = {}
    for name, array in weights.items():
        stored = storage.weights.get(name)
        if stored is not None:
            made[name] = widened(array, stored, weights.get(stored.scale or ""))
        elif name not in scales:
            made[name] = array
    return made


def pack_weights(storage: Storage, weights: Weights, source: str) -> dict[str, np.ndarray]:
    """Arrays of a caller as they are stored; those that are stored so already are left alone.

    Raises `ArtifactError` for numbers that int8 cannot hold, and for arrays without the axes of
    their scales.
    """
    made = dict(weights)
    for name, stored in storage.weights.items():
        array = weights.get(name)
        if array is None or dtype_name(array.dtype) != stored.dtype:
            continue
        if any(axis >= array.ndim for axis in stored.axes):
            raise ArtifactError(
                f"{source}: the array {name!r} has shape {list(array.shape)}, without the axis "
                f"{max(stored.axes)} that its scales run along; give it the shape it was compiled "
                "with"
            )
        try:
            made[name], scale = narrowed(array, stored)
        except ArgumentError as error:
            raise ArtifactError(f"{source}: the array {name!r} {error}") from error
        if stored.scale is not None and scale is not None:
            made[stored.scale] = scale
    return made


def narrowed(array: np.ndarray, stored: Stored) -> tuple[np.ndarray, np.ndarray | None]:
    """An array as it is stored, and its scales.

    Raises `ArgumentError` for infinities and NaN in int8.

    >>> codes, scale = narrowed(np.float32([[1, -4], [0.5, 2]]), Stored("float32", "s", (1,)))
    >>> codes.tolist()
    [[127, -127], [64, 64]]
    """
    if stored.scale is None:
        return array.astype(dtype_of("bfloat16")), None
    if not np.isfinite(array).all():
        raise ArgumentError("holds infinities or NaN, which int8 cannot store")
    others = tuple(axis for axis in range(array.ndim) if axis not in stored.axes)
    largest = np.abs(array).max(axis=others, initial=0.0)
    scale = _rounded_up(np.maximum(largest.astype(np.float64) / MOST, _SMALLEST))
    codes = np.rint(array / _spread(scale, array.shape, stored.axes))
    return np.clip(codes, -MOST, MOST).astype(np.int8), scale


def widened(array: np.ndarray, stored: Stored, scale: np.ndarray | None) -> np.ndarray:
    """A stored array as callers see it."""
    wide = array.astype(np.float32)
    if stored.scale is None or scale is None:
        return wide
    return wide * _spread(scale, array.shape, stored.axes)


def _rounded_up(numbers: np.ndarray) -> np.ndarray:
    """Positive numbers as float32 of few significant bits, never smaller."""
    fraction, exponent = np.frexp(numbers)
    whole = np.ceil(fraction * 2**_SCALE_BITS)
    return np.ldexp(whole, exponent - _SCALE_BITS).astype(np.float32)


def _spread(scale: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Scales in a shape that multiplies a weight of `shape`."""
    return scale.reshape([n if axis in axes else 1 for axis, n in enumerate(shape)])
