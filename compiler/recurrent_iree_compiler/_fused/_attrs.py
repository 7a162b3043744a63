"""Attributes of StableHLO operations as Python values; IREE's bindings have no classes for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from recurrent_iree_compiler._mlir import ir

from ._ir import Refused

_LIST = re.compile(r"(\w+)\s*=\s*(\[[^\]]*\]|-?\d+)")


def _numbers(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _LIST.findall(text):
        found[key] = _ints(value) if value.startswith("[") else int(value)
    return found


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"-?\d+", text))


def array(op: Any, name: str) -> tuple[int, ...]:
    """An attribute that is an array of integers; missing is empty."""
    if name not in op.attributes:
        return ()
    return _ints(str(op.attributes[name]).removeprefix("array<i64"))


def integer(op: Any, name: str) -> int:
    return ir.IntegerAttr(op.attributes[name]).value


def _word(op: Any, name: str) -> str:
    text = str(op.attributes[name]) if name in op.attributes else ""
    return text.rstrip(">").split("<")[-1].split()[-1] if text else ""


def _dot(op: Any) -> dict[str, Any]:
    numbers = _numbers(str(op.attributes["dot_dimension_numbers"]))
    return {
        "lhs_batch": numbers.get("lhs_batching_dimensions", ()),
        "rhs_batch": numbers.get("rhs_batching_dimensions", ()),
        "lhs_contract": numbers.get("lhs_contracting_dimensions", ()),
        "rhs_contract": numbers.get("rhs_contracting_dimensions", ()),
    }


def _gather(op: Any) -> dict[str, Any]:
    numbers = _numbers(str(op.attributes["dimension_numbers"]))
    return {
        "offset_dims": numbers.get("offset_dims", ()),
        "collapsed": numbers.get("collapsed_slice_dims", ()),
        "operand_batching": numbers.get("operand_batching_dims", ()),
        "indices_batching": numbers.get("start_indices_batching_dims", ()),
        "start_index_map": numbers.get("start_index_map", ()),
        "index_vector_dim": numbers.get("index_vector_dim", 0),
        "slice_sizes": array(op, "slice_sizes"),
    }


def _slice(op: Any) -> dict[str, Any]:
    return {
        "start": array(op, "start_indices"),
        "limit": array(op, "limit_indices"),
        "strides": array(op, "strides"),
    }


def _pad(op: Any) -> dict[str, Any]:
    low, high = array(op, "edge_padding_low"), array(op, "edge_padding_high")
    if any(array(op, "interior_padding")) or any(n < 0 for n in (*low, *high)):
        raise Refused("stablehlo.pad", "interior or negative padding")
    return {"low": low, "high": high}


def _compare(op: Any) -> dict[str, Any]:
    kind = _word(op, "compare_type")
    if kind == "TOTALORDER":
        raise Refused("stablehlo.compare", "total order of floating-point numbers")
    return {"direction": _word(op, "comparison_direction"), "type": kind}


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "dot_general": _dot,
    "gather": _gather,
    "slice": _slice,
    "pad": _pad,
    "compare": _compare,
    "broadcast_in_dim": lambda op: {"dims": array(op, "broadcast_dimensions")},
    "transpose": lambda op: {"permutation": array(op, "permutation")},
    "reverse": lambda op: {"dims": array(op, "dimensions")},
    "concatenate": lambda op: {"dim": integer(op, "dimension")},
    "iota": lambda op: {"dim": integer(op, "iota_dimension")},
    "reduce": lambda op: {"dims": array(op, "dimensions")},
    "dynamic_slice": lambda op: {"sizes": array(op, "slice_sizes")},
    "reduce_precision": lambda op: {
        "exponent": integer(op, "exponent_bits"),
        "mantissa": integer(op, "mantissa_bits"),
    },
}


def made_by(value: Any) -> Any:
    """The operation of MLIR that makes `value`, or ``None`` for an argument."""
    owner = value.owner
    return None if isinstance(owner, ir.Block) else owner.operation if owner else None


def read_attributes(op: Any, kind: str) -> dict[str, Any]:
    """The attributes of `op` that matter to fusing."""
    reader = _READERS.get(kind)
    return reader(op) if reader else {}
