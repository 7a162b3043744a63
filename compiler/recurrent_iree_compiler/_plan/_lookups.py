"""Lookups of rows by an unknown number of indices, such as those of an embedding."""

from __future__ import annotations

from typing import Any

from recurrent_iree_compiler._mlir import ir

from ._gathers import field, numbers
from ._sizes import Sizes, each_element, function


def lookup(op: Any, symbol: str) -> str:
    """A gather of whole slices along one axis; their indices are in range already."""
    table, indices, result = (
        ir.RankedTensorType(v.type) for v in (op.operands[0], op.operands[1], op.results[0])
    )
    axis = _axis(op, table, indices)
    if axis is None or "?" in str(table) or "?" not in str(indices):
        return ""
    if "ui" in f"{table.element_type} {indices.element_type}":
        return ""
    offsets = numbers(str(op.attributes["dimension_numbers"]), "offset_dims")
    shape = Sizes(indices)
    rows = [n for n in range(result.rank) if n not in offsets]
    flat = _without_vector(indices, len(rows))
    unknown = [f"%size{rows.index(n)}" for n in rows if result.is_dynamic_dim(n)]
    at = [f"%at{n}" for n in offsets]
    at.insert(axis, "%row")
    body = [
        f"%row = arith.index_cast %a : {indices.element_type} to index",
        *(f"%at{n} = linalg.index {n} : index" for n in offsets),
        f"%v = tensor.extract %table[{', '.join(at)}] : {table}",
    ]
    shape.lines.append(f"%flat = {shape.reshape('%x', indices, shape.given, flat, shape.given)}")
    shape.lines += each_element(flat, rows, result, unknown, body, "%v")
    return function(symbol, f"%table: {table}, %x: {indices}", str(result), shape.lines)


def _axis(op: Any, table: Any, indices: Any) -> int | None:
    """The axis along which whole slices are taken; ``None`` if the gather does something else."""
    text = str(op.attributes["dimension_numbers"])
    mapped = numbers(text, "start_index_map")
    sizes = [int(n) for n in op.attributes["slice_sizes"]]
    if len(mapped) != 1 or numbers(text, "collapsed_slice_dims") != mapped or "batching" in text:
        return None
    (axis,) = mapped
    wanted = [1 if n == axis else table.shape[n] for n in range(table.rank)]
    vector = int(field(text, r"index_vector_dim = (\d+)", "0"))
    return axis if sizes == wanted and vector in (indices.rank - 1, indices.rank) else None


def _without_vector(indices: Any, rank: int) -> Any:
    """The type of the indices without the axis that holds one index."""
    sizes = ["?" if indices.is_dynamic_dim(n) else str(indices.shape[n]) for n in range(rank)]
    return ir.Type.parse(f"tensor<{'x'.join([*sizes, str(indices.element_type)])}>")
