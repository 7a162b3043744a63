"""Reductions: one loop for each, with lanes along the last axis where the reducer allows it."""

from __future__ import annotations

from collections.abc import Callable

from ._buffers import index_of
from ._carried import carried_loop, segments
from ._cuts import Cut
from ._elementwise import Lanes, binary, emit
from ._evaluate import Evaluator, Names
from ._index import Affine
from ._ir import Op, Value
from ._stages import Stages
from ._writer import compute_dtype, is_float, vector

_SIMPLE = frozenset({"add", "maximum", "minimum", "multiply", "and", "or"})
Store = Callable[[Evaluator, Value, tuple[Affine, ...], Names], None]


class Reduction:
    """Emits ``stablehlo.reduce`` for one block of rows."""

    def __init__(
        self, ev: Evaluator, op: Op, lanes: int, store: Store, cut: Cut | None = None
    ) -> None:
        self.ev = ev
        self.cut = cut
        self.op = op
        self.lanes = lanes
        self.store = store
        self.batch = ev.stages.batch.get(op.operands[0])
        self.axes, self.reduced, self.kept = _axes(op, self.batch)
        self.rows = len(ev.block.local) if ev.stages.has_rows(op.result) else 1

    def emit(self) -> None:
        if self.lanes and self.axes and not self._simple() and self.axes[-1] in self.reduced:
            self._over(self.kept, {}, self._any_reducer)
        elif self.lanes and self.axes and self._simple():
            if self.axes[-1] in self.reduced:
                self._over(self.kept, {}, self._across_lanes)
            else:
                self._over(self.kept[:-1], {}, self._along_lanes)
        else:
            self.ev.lanes = 0
            self._over(self.kept, {}, self._by_element)

    def _simple(self) -> str | None:
        return _simple(self.op)

    def _over(
        self, axes: list[int], at: dict[int, Affine], body: Callable[[dict[int, Affine]], None]
    ) -> None:
        """Plain loops over `axes`, then `body` with an index for each axis."""
        if not axes:
            body(at)
            return
        size, cut = self.op.operands[0].shape[axes[0]], None if at else self.cut
        with cut.loop(range(size), size) if cut else self.ev.w.loop(size) as i:
            self._over(axes[1:], {**at, axes[0]: i}, body)

    def _index(self, at: dict[int, Affine]) -> tuple[Affine, ...]:
        return index_of(self.op.operands[0], self.batch, [at[a] for a in self.axes])

    def _result_index(self, at: dict[int, Affine]) -> tuple[Affine, ...]:
        full = index_of(self.op.operands[0], self.batch, [at.get(a, Affine()) for a in self.axes])
        return tuple(i for a, i in enumerate(full) if a not in self.op.attrs["dims"])

    def _nest(
        self,
        axes: list[int],
        at: dict[int, Affine],
        values: list[str],
        types: list[str],
        body: Callable[[dict[int, Affine], list[str]], list[str]],
    ) -> list[str]:
        """Loops over `axes` that carry `values`."""
        if not axes:
            return body(at, values)
        size = self.op.operands[0].shape[axes[0]]
        with carried_loop(self.ev.w, size, 1, values, types) as (i, carried):
            inside = {**at, axes[0]: i}
            carried.after = self._nest(axes[1:], inside, carried.values, types, body)
        return carried.after

    def _combine(self, a: str, b: str, lanes: int) -> str:
        kind = self._simple() or ""
        return binary(kind, Lanes(self.ev.w, lanes), self.op.result.dtype, a, b)

    def _step(self, at: dict[int, Affine], values: list[str]) -> list[str]:
        ev = self.ev
        names = ev.spread(ev.get(self.op.operands[0], self._index(at)), self.op.result.dtype)
        return [
            self._combine(v, names.rows[r % len(names.rows)], ev.lanes)
            for r, v in enumerate(values)
        ]

    def _across_lanes(self, at: dict[int, Affine]) -> None:
        """The last axis is reduced: vectors are summed, then their lanes."""
        ev, dtype = self.ev, compute_dtype(self.op.result.dtype)
        totals = list(self._initial())
        *outer, last = self.reduced
        for part in segments(self.op.operands[0].shape[last], self.lanes):
            ev.lanes = part.lanes
            kind = vector(dtype, part.lanes)
            start = [ev.w.constant(self._identity(), dtype, part.lanes)] * self.rows

            def tile(at: dict[int, Affine], values: list[str], part=part, kind=kind) -> list[str]:
                with carried_loop(ev.w, part.tiles, 1, values, [kind] * self.rows) as (n, carried):
                    place = n * part.lanes + Affine(part.start, lane=1)
                    carried.after = self._step({**at, last: place}, carried.values)
                return carried.after

            sums = self._nest(outer, at, start, [kind] * self.rows, tile)
            for row, name in enumerate(sums):
                whole = ev.w.op(
                    f"vector.reduction <{self._lanes_kind()}>, {name} : {kind} into {dtype}"
                )
                totals[row] = self._combine(totals[row], whole, 0)
        self.store(ev, self.op.result, self._result_index(at), Names(tuple(totals), False))

    def _along_lanes(self, at: dict[int, Affine]) -> None:
        """The last axis is kept: each lane has a result of its own."""
        ev, dtype = self.ev, compute_dtype(self.op.result.dtype)
        last = self.kept[-1]
        for part in segments(self.op.operands[0].shape[last], self.lanes):
            ev.lanes = part.lanes
            kind = vector(dtype, part.lanes)
            with ev.w.loop(part.tiles) as n:
                place = n * part.lanes + Affine(part.start, lane=1)
                inside = {**at, last: place}
                start = [ev.w.constant(self._identity(), dtype, part.lanes)] * self.rows
                sums = self._nest(self.reduced, inside, start, [kind] * self.rows, self._step)
                initial = ev.spread(Names(self._initial(), False), self.op.result.dtype).rows
                done = (self._combine(initial[r], s, part.lanes) for r, s in enumerate(sums))
                self.store(ev, self.op.result, self._result_index(inside), Names(tuple(done), True))

    def _any_reducer(self, at: dict[int, Affine]) -> None:
        """Any reducer over the last axis: in each lane by itself, then lane by lane.

        Each lane starts from the initial values, which StableHLO lets a reducer use many times.
        """
        ev = self.ev
        totals = self._starts()
        kinds = [compute_dtype(r.dtype) for r in self.op.results for _ in range(self.rows)]
        *outer, last = self.reduced
        for part in segments(self.op.operands[0].shape[last], self.lanes):
            ev.lanes = part.lanes
            types = [vector(kind, part.lanes) for kind in kinds]
            values = [
                ev.w.op(f"vector.broadcast {name} : {kind} to {type_}")
                for name, kind, type_ in zip(self._starts(), kinds, types, strict=True)
            ]

            def tile(at: dict[int, Affine], values: list[str], part=part, types=types) -> list[str]:
                with carried_loop(ev.w, part.tiles, 1, values, types) as (n, carried):
                    place = n * part.lanes + Affine(part.start, lane=1)
                    carried.after = self._merge({**at, last: place}, carried.values, part.lanes)
                return carried.after

            sums = self._nest(outer, at, values, types, tile)
            for lane in range(part.lanes):
                items = [
                    ev.w.op(f"vector.extract {name}[{lane}] : {kind} from {type_}")
                    for name, kind, type_ in zip(sums, kinds, types, strict=True)
                ]
                totals = self._combined(totals, items, 0)
        ev.lanes = 0
        self._store_all(totals, at)

    def _by_element(self, at: dict[int, Affine]) -> None:
        """Any reducer, one element at a time."""
        values = self._starts()
        types = [compute_dtype(r.dtype) for r in self.op.results for _ in range(self.rows)]
        done = self._nest(self.reduced, at, values, types, lambda at, v: self._merge(at, v, 0))
        self._store_all(done, at)

    def _starts(self) -> list[str]:
        """The initial values: for each result, for each row."""
        op, starts = self.op, []
        for initial in op.operands[len(op.results) :]:
            names = self.ev.get(initial, ()).rows
            starts.extend(names[r % len(names)] for r in range(self.rows))
        return starts

    def _merge(self, at: dict[int, Affine], values: list[str], lanes: int) -> list[str]:
        """`values` and the elements at an index, reduced."""
        index, items = self._index(at), []
        for value in self.op.operands[: len(self.op.results)]:
            names = self.ev.get(value, index)
            names = self.ev.spread(names, value.dtype) if lanes else names
            items.extend(names.rows[r % len(names.rows)] for r in range(self.rows))
        return self._combined(values, items, lanes)

    def _combined(self, values: list[str], items: list[str], lanes: int) -> list[str]:
        after: list[str] = [""] * len(values)
        for row in range(self.rows):
            old, new = values[row :: self.rows], items[row :: self.rows]
            after[row :: self.rows] = self._apply([*old, *new], lanes)
        return after

    def _store_all(self, names: list[str], at: dict[int, Affine]) -> None:
        for n, result in enumerate(self.op.results):
            rows = tuple(names[n * self.rows : (n + 1) * self.rows])
            self.store(self.ev, result, self._result_index(at), Names(rows, False))

    def _apply(self, arguments: list[str], lanes: int) -> list[str]:
        """The reducer itself on scalars or vectors."""
        ev, region = self.ev, self.op.region
        assert region is not None
        env = dict(zip(region.arguments, arguments, strict=True))
        for op in region.ops:
            if op.kind == "constant":
                splat = ev.stages.cell.splats[op.result]
                env[op.result] = ev.w.constant(splat, compute_dtype(op.result.dtype), lanes)
            else:
                env[op.result] = emit(op, Lanes(ev.w, lanes), [env[v] for v in op.operands])
        return [env[v] for v in region.outputs]

    def _initial(self) -> tuple[str, ...]:
        names = self.ev.get(self.op.operands[1], ()).rows
        return tuple(names[r % len(names)] for r in range(self.rows))

    def _identity(self) -> float | int | bool:
        kind, dtype = self._simple(), self.op.result.dtype
        if kind in ("add", "or", "multiply", "and"):
            if kind in ("add", "or"):
                return 0
            return 1 if kind == "multiply" or dtype == "i1" else -1
        if is_float(dtype):
            return float("-inf") if kind == "maximum" else float("inf")
        if dtype == "i1":
            return kind == "minimum"
        bits = int(dtype.removeprefix("u")[1:])
        low, high = (
            (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        return low if kind == "maximum" else high

    def _lanes_kind(self) -> str:
        kind, dtype = self._simple() or "", self.op.result.dtype
        if dtype == "i1":
            return {"maximum": "or", "add": "or", "or": "or"}.get(kind, "and")
        if kind in ("maximum", "minimum"):
            name = kind[:3]
            return (
                f"{name}imumf" if is_float(dtype) else f"{name}{'u' if dtype[0] == 'u' else 's'}i"
            )
        return {"add": "add", "multiply": "mul", "and": "and", "or": "or"}[kind]


def units_of_reduction(op: Op, lanes: int, stages: Stages) -> int:
    """Into how many parts its outermost loop over results can be cut."""
    axes, _, plain = _axes(op, stages.batch.get(op.operands[0]))
    if lanes and axes and _simple(op) and axes[-1] in plain:
        plain = plain[:-1]
    return op.operands[0].shape[plain[0]] if plain else 1


def _axes(op: Op, batch: int | None) -> tuple[list[int], list[int], list[int]]:
    """The axes with lanes: all of them, the reduced ones, those that are kept."""
    axes = [a for a, n in enumerate(op.operands[0].shape) if n != 1 and a != batch]
    reduced = [a for a in axes if a in op.attrs["dims"]]
    return axes, reduced, [a for a in axes if a not in reduced]


def _simple(op: Op) -> str | None:
    """The operation of a reducer that is a single one."""
    region = op.region
    assert region is not None
    if len(region.ops) != 1 or region.ops[0].kind not in _SIMPLE:
        return None
    only = region.ops[0]
    same = set(only.operands) == set(region.arguments) and region.outputs == only.results
    return only.kind if same and len(op.results) == 1 else None
