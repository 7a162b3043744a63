"""Storing the matrices of a program in bfloat16 or int8: which, how, and what it costs.

The program is lowered with the stored arrays as its weights and widens them itself, so everything
after it (XLA, the compiler, the file, its golden calls) sees one program with rounded weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_iree_runtime import ArgumentError
from recurrent_iree_runtime._storage import Storage, Stored, narrowed, unpack

from ._matrices import Uses, find_uses
from ._program import Trace

Kind = Literal["f32", "bf16", "int8"]


@dataclass
class StoredWeights:
    """The weights of a program as its functions take them.

    Attributes:
        kind: what was asked for.
        arrays: the stored arrays by name, scales after their weights.
        layout: which of them are stored in fewer bits, and how.
        kept: why each of the other weights was left as it is.
        loss: what the rounding did to the outputs of the golden calls.
    """

    kind: Kind
    arrays: dict[str, np.ndarray]
    layout: Storage = field(default_factory=lambda: Storage({}))
    kept: dict[str, str] = field(default_factory=dict)
    loss: list[dict[str, Any]] = field(default_factory=list)

    def seen(self) -> dict[str, np.ndarray]:
        """The weights as the program computes with them: rounded, in float32."""
        return unpack(self.layout, self.arrays)

    def widen(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """As `seen`, of traced values."""
        made = dict(values)
        for name, stored in self.layout.weights.items():
            wide = lax.convert_element_type(values[name], jnp.float32)
            if stored.scale is not None:
                scale = lax.broadcast_in_dim(values[stored.scale], wide.shape, stored.axes)
                wide = wide * scale
            made[name] = wide
        return made

    def metadata(self) -> str:
        """What the runtime has to know, as JSON."""
        weights = {
            name: {"dtype": s.dtype, "scale": s.scale, "axes": list(s.axes)}
            for name, s in self.layout.weights.items()
        }
        return json.dumps({"weights": weights}, sort_keys=True)

    def report(self) -> dict[str, Any]:
        """For the report: what is stored how, what is not and why, and the loss."""
        scales = [s.scale for s in self.layout.weights.values()]
        return {
            "asked": self.kind,
            "stored": {n: self.arrays[n].dtype.name for n in self.layout.weights},
            "kept": self.kept,
            "bytes": sum(array.nbytes for array in self.arrays.values()),
            "bytes in float32": sum(
                array.size * (4 if name in self.layout.weights else array.itemsize)
                for name, array in self.arrays.items()
                if name not in scales
            ),
            "loss": self.loss,
        }


def check_kind(kind: Any) -> Kind:
    """`kind`, if it is one."""
    kinds = get_args(Kind)
    if not isinstance(kind, str) or kind not in kinds:
        raise ArgumentError(
            f"compile: weights={kind!r} says how weights are stored; expected one of "
            f"{', '.join(map(repr, kinds))}. An argument of your program that is called `weights` "
            "has to be given by position, or under another name"
        )
    return kind  # pyright: ignore


def store(kind: Kind, traces: Sequence[Trace], weights: Mapping[str, np.ndarray]) -> StoredWeights:
    """The weights of a program, its matrices narrowed to `kind`."""
    result = StoredWeights(kind, dict(weights))
    if kind == "f32":
        return result
    uses = find_uses(traces, {name: array.shape for name, array in weights.items()})
    arrays: dict[str, np.ndarray] = {}
    layout: dict[str, Stored] = {}
    for name, array in weights.items():
        reason = _unfit(kind, array, uses[name])
        if reason:
            result.kept[name], arrays[name] = reason, array
            continue
        scale, axes = None, ()
        if kind == "int8":
            scale = _unused(f"{name}.scale", weights)
            axes = tuple(a for a in range(array.ndim) if a not in uses[name].summed)
        layout[name] = Stored("float32", scale, axes)
        arrays[name], numbers = narrowed(array, layout[name])
        if scale is not None and numbers is not None:
            arrays[scale] = numbers
    result.arrays, result.layout = arrays, Storage(layout)
    return result


def _unfit(kind: Kind, array: np.ndarray, uses: Uses) -> str:
    """Why a weight is not narrowed; empty if it is."""
    if not uses.products:
        return "not a matrix of a product"
    if uses.others:
        return f"also used by {', '.join(uses.others)}"
    if array.dtype != np.float32:
        return f"its elements are {array.dtype.name}, not float32"
    if kind == "int8" and uses.summed >= set(range(array.ndim)):
        return "products sum over each of its axes, so it has no channels"
    if kind == "int8" and not np.isfinite(array).all():
        return "it holds infinities or NaN"
    return ""


def _unused(name: str, names: Mapping[str, Any]) -> str:
    while name in names:
        name += "_"
    return name


def output_loss(
    name: str, exact: np.ndarray, rounded: np.ndarray, call: Mapping[str, Any]
) -> dict[str, Any]:
    """How far an output of the rounded program is from that of the exact one, as JSON.

    The relative error is that of the whole output: the largest difference over the largest value.
    """
    if not jnp.issubdtype(exact.dtype, np.inexact) or not exact.size:
        differ = int(np.sum(exact != rounded))
        return {"output": name, "elements that differ": differ, "of": int(exact.size), **call}
    wide = np.complex128 if jnp.issubdtype(exact.dtype, np.complexfloating) else np.float64
    with np.errstate(invalid="ignore"):
        largest = float(np.abs(np.nan_to_num(exact.astype(wide))).max())
        error = float(np.abs(np.nan_to_num(exact.astype(wide) - rounded.astype(wide))).max())
    relative = error / largest if largest else 0.0
    return {"output": name, "max abs error": error, "relative error": relative, **call}
