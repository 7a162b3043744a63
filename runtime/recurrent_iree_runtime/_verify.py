"""Golden calls of an artifact, run on a device and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._chunks import run_chunks
from ._errors import RecurrentIreeError, VerificationError
from ._manifest import Golden

if TYPE_CHECKING:
    from ._model import Model

_PART = 1 << 14  # numbers compared at once


@dataclass(frozen=True)
class VerifyRow:
    """One golden call: the largest errors over all its outputs, or why it failed."""

    entry: str
    dims: Mapping[str, int]
    max_abs_error: float
    max_rel_error: float
    ok: bool
    error: str = ""


@dataclass(frozen=True)
class VerifyReport:
    """The golden calls of an artifact on one device."""

    name: str
    device: str
    rows: tuple[VerifyRow, ...]

    @property
    def ok(self) -> bool:
        """Whether every call gave the expected numbers, and there was at least one."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def raise_if_failed(self) -> None:
        """Raise `VerificationError` unless `ok`."""
        if not self.rows:
            raise VerificationError(f"{self.name!r} holds no golden calls; compile it again")
        for row in self.rows:
            if not row.ok:
                sizes = ", ".join(f"{k}={v}" for k, v in row.dims.items())
                why = row.error or (
                    f"largest error {row.max_abs_error:.3g} absolute, "
                    f"{row.max_rel_error:.3g} relative"
                )
                raise VerificationError(
                    f"{self.name!r} gives wrong numbers on {self.device!r} in {row.entry!r} "
                    f"({sizes}): {why}. Do not use it on this device; please report it."
                )


def verify(model: "Model") -> VerifyReport:
    """Run every golden call of the model's artifact on its device."""
    model.runner()
    tensors = model.artifact.goldens()
    rows = tuple(_row(model, golden, tensors) for golden in model.manifest.goldens)
    return VerifyReport(model.name, model.device.name, rows)


def _row(model: "Model", golden: Golden, tensors: Mapping[str, np.ndarray]) -> VerifyRow:
    nothing = float("nan")
    missing = [k for k in (*golden.inputs, *golden.outputs) if k not in tensors]
    if missing:
        why = f"golden.safetensors has no array {missing[0]!r}"
        return VerifyRow(golden.entry, golden.dims, nothing, nothing, False, why)
    expected = [tensors[key] for key in golden.outputs]
    try:
        given = _outputs(model, golden, [tensors[key] for key in golden.inputs])
    except RecurrentIreeError as error:
        return VerifyRow(golden.entry, golden.dims, nothing, nothing, False, str(error))
    pairs = list(zip(given, expected, strict=False))
    errors = [compare(a, b, golden.rtol, golden.atol) for a, b in pairs]
    worst = [max((error[i] for error in errors), default=0.0) for i in (0, 1)]
    ok = all(error[2] for error in errors)
    return VerifyRow(golden.entry, golden.dims, worst[0], worst[1], ok)


def _outputs(model: "Model", golden: Golden, inputs: Sequence[np.ndarray]) -> list[Any]:
    """All output leaves, then the new states where the entry has some."""
    runner = model.runner()
    plan = model.plan(golden.entry)
    leaves = plan.entry.inputs
    if golden.entry == "init":
        streams = model.streams()
        function = streams.init_function(golden.dims)
        buffers = streams.initial(runner, function)
        return list(streams.to_host(runner, function, buffers).values())
    arrays = plan.arrays(inputs[: len(leaves)], leaves)
    if golden.entry == "chunk":
        return _streamed(model, golden, arrays, inputs[len(leaves) :])
    dims = {**golden.dims, **plan.dims(arrays, leaves)}
    if plan.entry.realization == "chunks":
        return plan.complete(model.whole(runner, plan, arrays, dims), arrays)
    call = runner.call(plan.entry, plan.function(dims))
    arrays = plan.ready(arrays)
    return plan.complete(call(arrays, ())[0], arrays)


def _streamed(
    model: "Model", golden: Golden, arrays: list[np.ndarray], states: Sequence[np.ndarray]
) -> list[Any]:
    runner, streams = model.runner(), model.streams()
    plan = model.plan(golden.entry)
    dims = {**golden.dims, **plan.dims(arrays, plan.entry.inputs)}
    function = streams.init_for(dims)
    if states:
        names = [slot.name for slot in model.manifest.states]
        given = dict(zip(names, states, strict=True))
        buffers = streams.to_device(runner, function, given)
    else:
        buffers = streams.initial(runner, function)
    outputs, buffers = run_chunks(runner, plan, streams.chunk, arrays, dims, buffers)
    after = list(streams.to_host(runner, function, buffers).values())
    return [*plan.complete(outputs, arrays), *after]


def compare(
    given: np.ndarray, expected: np.ndarray, rtol: float, atol: float
) -> tuple[float, float, bool]:
    """`(largest absolute error, largest relative error, ok)`; equal NaN and infinities agree.

    >>> compare(np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.0, 0.1)
    (0.5, 0.2, False)
    """
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return float("inf"), float("inf"), False
    if given.size == 0:
        return 0.0, 0.0, True
    parts = zip(_parts(given), _parts(expected), strict=True)
    absolute, relative, ok = zip(*(_compare(a, b, rtol, atol) for a, b in parts), strict=True)
    return float(np.max(absolute)), float(np.max(relative)), all(ok)


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """`array` in parts that stay in a cache."""
    flat = array.reshape(-1)
    return [flat[at : at + _PART] for at in range(0, flat.size, _PART)]


def _compare(
    given: np.ndarray, expected: np.ndarray, rtol: float, atol: float
) -> tuple[float, float, bool]:
    wide = np.complex128 if given.dtype.kind == "c" else np.float64
    a, b = given.astype(wide), expected.astype(wide)
    with np.errstate(all="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        error = np.where(same, 0.0, np.abs(a - b))
        error = np.where(np.isnan(error), np.inf, error)
        relative = np.where(error == 0, 0.0, error / np.abs(b))
        ok = bool(np.all(error <= atol + rtol * np.where(same, 0.0, np.abs(b))))
    return float(error.max()), float(relative.max()), ok
