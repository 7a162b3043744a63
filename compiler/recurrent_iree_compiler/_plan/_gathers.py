"""Clamping the indices of gathers, as StableHLO demands and IREE 3.13 on CPUs does not do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from recurrent_iree_compiler._mlir import Module, ir

from ._any_length import NotForAnyLength
from ._recurrence import walk

_SHAPED = re.compile(r"tensor<((?:[\d?]+x)*)(.+)>")
_LIST = r"\[([\d, ]*)\]"


def clamp_gathers(module: Module) -> None:
    """Clamp the start indices of every gather of `module` in place.

    IREE reads outside of the operand for an index that is out of range: garbage, or a crash.
    """
    gathers = [op for op in walk(module.operation) if op.name == "stablehlo.gather"]
    for op in gathers:
        with module.context, op.location:
            _clamp(op)


def _clamp(op: Any) -> None:
    operand, indices = op.operands[0], op.operands[1]
    shape, _ = _shape(operand)
    index_shape, element = _shape(indices)
    if any(size is None for size in shape):
        return
    text = str(op.attributes["dimension_numbers"])
    mapped = numbers(text, "start_index_map")
    vector = int(field(text, r"index_vector_dim = (\d+)", "0"))
    sizes = [int(n) for n in op.attributes["slice_sizes"]]
    most = [shape[axis] - sizes[axis] for axis in mapped]
    if None in index_shape:
        _clamp_all(op, most, element)
        return
    spread = [len(most) if axis == vector else 1 for axis in range(len(index_shape))]
    upper = np.broadcast_to(np.asarray(most, np.int64).reshape(spread), index_shape)
    before = ir.InsertionPoint(op)
    low = _constant(np.zeros(index_shape, np.int64), element, indices.type, before)
    high = _constant(upper, element, indices.type, before)
    clamped = ir.Operation.create(
        "stablehlo.clamp", results=[indices.type], operands=[low, indices, high], ip=before
    )
    op.operands[1] = clamped.results[0]


def _clamp_all(op: Any, most: list[Any], element: str) -> None:
    """Clamp a number of indices that is not known, all to the same bound."""
    if len(set(most)) != 1:
        raise NotForAnyLength("it gathers along several axes outside of the loop")
    before, kind = ir.InsertionPoint(op), ir.Type.parse(f"tensor<{element}>")
    low = _constant(np.zeros((), np.int64), element, kind, before)
    high = _constant(np.asarray(most[0], np.int64), element, kind, before)
    indices = op.operands[1]
    clamped = ir.Operation.create(
        "stablehlo.clamp", results=[indices.type], operands=[low, indices, high], ip=before
    )
    op.operands[1] = clamped.results[0]


def _constant(values: np.ndarray, element: str, kind: Any, before: Any) -> Any:
    bits = int(re.sub(r"\D", "", element)) - (not element.startswith("u"))
    values = np.minimum(values, 2 ** min(bits, 62) - 1)
    uniform = values.size == 0 or bool((values == values.flat[0]).all())
    body = str(int(values.flat[0]) if values.size else 0) if uniform else str(values.tolist())
    attribute = ir.Attribute.parse(f"dense<{body}> : {kind}")
    made = ir.Operation.create(
        "stablehlo.constant", results=[kind], attributes={"value": attribute}, ip=before
    )
    return made.results[0]


def _shape(value: Any) -> tuple[list[Any], str]:
    match = _SHAPED.fullmatch(str(value.type))
    assert match is not None, value.type
    return [None if n == "?" else int(n) for n in match[1].split("x") if n], match[2]


def numbers(text: str, name: str) -> list[int]:
    """The list of numbers called `name` in the text of dimension numbers."""
    return [int(n) for n in field(text, rf"\b{name} = {_LIST}", "").split(",") if n.strip()]


def field(text: str, pattern: str, default: str) -> str:
    """What the group of `pattern` finds in `text`."""
    match = re.search(pattern, text)
    return match[1] if match else default
