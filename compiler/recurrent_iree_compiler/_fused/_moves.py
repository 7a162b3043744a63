"""Operations that only move data: an index of the result becomes indexes of the operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._elementwise import Lanes
from ._index import ZERO, Affine
from ._ir import Op, Refused
from ._shapes import reshape_groups
from ._writer import compute_dtype, vector

if TYPE_CHECKING:
    from ._evaluate import Evaluator, Index, Names


def _broadcast(ev: Evaluator, op: Op, index: Index) -> Names:
    operand = op.operands[0]
    return ev.get(
        operand,
        tuple(
            index[target] if operand.shape[axis] == op.result.shape[target] else ZERO
            for axis, target in enumerate(op.attrs["dims"])
        ),
    )


def _transpose(ev: Evaluator, op: Op, index: Index) -> Names:
    moved = dict(zip(op.attrs["permutation"], index, strict=True))
    return ev.get(op.operands[0], tuple(moved[a] for a in range(len(moved))))


def _slice(ev: Evaluator, op: Op, index: Index) -> Names:
    at = op.attrs
    return ev.get(
        op.operands[0],
        tuple(
            i * step + Affine(start)
            for i, start, step in zip(index, at["start"], at["strides"], strict=True)
        ),
    )


def _reverse(ev: Evaluator, op: Op, index: Index) -> Names:
    last = [n - 1 for n in op.result.shape]
    return ev.get(
        op.operands[0],
        tuple(
            i * -1 + Affine(last[a]) if a in op.attrs["dims"] else i for a, i in enumerate(index)
        ),
    )


def _reshape(ev: Evaluator, op: Op, index: Index) -> Names:
    from ._evaluate import linear

    operand, result = op.operands[0], op.result
    groups = reshape_groups(operand.shape, result.shape)
    places = [
        (source, linear(tuple(result.shape[t] for t in target), [index[t] for t in target]))
        for source, target in groups
    ]
    if any(len(source) > 1 for source, _ in places):
        return ev.flat(operand, places)
    position = {source[0]: place for source, place in places}
    return ev.get(operand, tuple(position.get(a, ZERO) for a in range(len(operand.shape))))


def _iota(ev: Evaluator, op: Op, index: Index) -> Names:
    from ._evaluate import Names

    at = index[op.attrs["dim"]]
    dtype = compute_dtype(op.result.dtype)
    if at.row:
        raise Refused("stablehlo.iota", "along the batch axis")
    names = [_number(ev, Affine(at.const, at.terms), dtype)]
    if not at.lane:
        return Names(tuple(names), False)
    kind = vector(dtype, ev.lanes)
    literal = [at.lane * n for n in range(ev.lanes)]
    values = ", ".join(f"{float(n)}" if dtype.startswith("f") else str(n) for n in literal)
    steps = ev.w.hoisted(f"arith.constant dense<[{values}]> : {kind}")
    spread = ev.spread(Names(tuple(names), False), dtype).rows[0]
    add = "arith.addf" if dtype.startswith("f") else "arith.addi"
    return Names((ev.w.op(f"{add} {spread}, {steps} : {kind}"),), True)


def _number(ev: Evaluator, at: Affine, dtype: str) -> str:
    whole = "i64" if dtype.startswith("f") else dtype
    name = ev.w.op(f"arith.index_cast {ev.w.address(at)} : index to {whole}")
    if dtype.startswith("f"):
        name = ev.w.op(f"arith.sitofp {name} : {whole} to {dtype}")
    return name


def _concatenate(ev: Evaluator, op: Op, index: Index) -> Names:
    """Only reached with a constant index along the joined axis (the index vectors of a gather)."""
    at = index[op.attrs["dim"]]
    if not at.is_constant:
        raise Refused("stablehlo.concatenate", "read inside a loop at an index that varies")
    start = 0
    for operand in op.operands:
        size = operand.shape[op.attrs["dim"]]
        if at.const < start + size:
            inner = list(index)
            inner[op.attrs["dim"]] = Affine(at.const - start)
            return ev.get(operand, tuple(inner))
        start += size
    raise AssertionError("an index beyond the parts of a concatenation")


def _clamped(ev: Evaluator, names: Names, dtype: str, top: int) -> Affine:
    """Start indexes as XLA takes them: between 0 and `top`."""
    if top == 0:
        return ZERO
    from ._evaluate import Names as Result

    kind = compute_dtype(dtype)
    lanes = Lanes(ev.w, 0)
    rows = []
    for name in names.rows:
        if names.is_vector:
            ev.symbol(names)
        small = not dtype.startswith("u")
        if small:
            name = lanes.op("arith.maxsi", kind, name, lanes.constant(0, kind))
        limit = min(top, 2 ** (int(kind[1:]) - (1 if small else 0)) - 1)
        which = "arith.minsi" if small else "arith.minui"
        name = lanes.op(which, kind, name, lanes.constant(limit, kind))
        cast = "arith.index_cast" if small else "arith.index_castui"
        rows.append(ev.w.op(f"{cast} {name} : {kind} to index"))
    return ev.symbol(Result(tuple(rows), False))


def _gather(ev: Evaluator, op: Op, index: Index) -> Names:
    operand, indices = op.operands
    at = op.attrs
    batch = [i for a, i in enumerate(index) if a not in at["offset_dims"]]
    position: list[Affine] = [ZERO] * len(operand.shape)
    window = [
        a
        for a in range(len(operand.shape))
        if a not in at["collapsed"] and a not in at["operand_batching"]
    ]
    for axis, target in zip(window, at["offset_dims"], strict=True):
        position[axis] = index[target]
    around = [a for a in range(len(indices.shape)) if a != at["index_vector_dim"]]
    outer = dict(zip(around, batch, strict=True))
    for axis, source in zip(at["operand_batching"], at["indices_batching"], strict=True):
        position[axis] = outer[source]
    for number, axis in enumerate(at["start_index_map"]):
        top = operand.shape[axis] - at["slice_sizes"][axis]
        if top:
            where = tuple(outer.get(a, Affine(number)) for a in range(len(indices.shape)))
            start = _clamped(ev, ev.get(indices, where), indices.dtype, top)
            position[axis] = position[axis] + start
    return ev.get(operand, tuple(position))


def _dynamic_slice(ev: Evaluator, op: Op, index: Index) -> Names:
    operand, *starts = op.operands
    position = []
    for axis, start in enumerate(starts):
        top = operand.shape[axis] - op.result.shape[axis]
        shift = _clamped(ev, ev.get(start, ()), start.dtype, top)
        position.append(index[axis] + shift)
    return ev.get(operand, tuple(position))


def _dynamic_update(ev: Evaluator, op: Op, index: Index) -> Names:
    """The update where the index falls into its window, else the operand."""
    from ._evaluate import NotVectorizable

    operand, update, *starts = op.operands
    inside: list[str] = []
    position = []
    for axis, start in enumerate(starts):
        size = update.shape[axis]
        top = operand.shape[axis] - size
        if top == 0:
            position.append(index[axis])
            continue
        if index[axis].lane or index[axis].row:
            raise NotVectorizable("an update that starts anywhere along the lanes")
        shift = _clamped(ev, ev.get(start, ()), start.dtype, top)
        test, place = _window(ev, ev.w.address(index[axis]), ev.w.address(shift), size)
        inside.append(test)
        position.append(place)
    if not inside:
        return ev.get(update, index)
    test = inside[0]
    for other in inside[1:]:
        test = ev.w.op(f"arith.andi {test}, {other} : i1")
    return _choose(ev, test, ev.get(update, tuple(position)), ev.get(operand, index), op)


def _window(ev: Evaluator, at: str, start: str, size: int) -> tuple[str, Affine]:
    from ._index import variable

    w = ev.w
    offset = w.op(f"arith.subi {at}, {start} : index")
    test = w.op(f"arith.cmpi ult, {offset}, {w.index(size)} : index")
    place = w.op(f"arith.select {test}, {offset}, {w.index(0)} : index")
    return test, variable(place)


def _choose(ev: Evaluator, test: str, new: Names, old: Names, op: Op) -> Names:
    from ._evaluate import Names

    is_vector = new.is_vector or old.is_vector
    if is_vector:
        new, old = ev.spread(new, op.result.dtype), ev.spread(old, op.result.dtype)
    kind = vector(compute_dtype(op.result.dtype), ev.lanes if is_vector else 0)
    rows = [
        ev.w.op(
            f"arith.select {test}, {new.rows[r % len(new.rows)]}, "
            f"{old.rows[r % len(old.rows)]} : {kind}"
        )
        for r in range(max(len(new.rows), len(old.rows)))
    ]
    return Names(tuple(rows), is_vector)


MOVES: dict[str, Callable[[Any, Op, Any], Any]] = {
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "slice": _slice,
    "reverse": _reverse,
    "reshape": _reshape,
    "iota": _iota,
    "concatenate": _concatenate,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
}
