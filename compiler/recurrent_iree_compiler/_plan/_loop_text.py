"""The StableHLO text of a function with loops over the steps of a recurrence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ._recurrence import Recurrence

_TENSOR = re.compile(r"tensor<((?:\d+x)*)(.+)>")


@dataclass(frozen=True)
class _Value:
    name: str
    shape: tuple[int, ...]
    element: str

    @property
    def type(self) -> str:
        return f"tensor<{''.join(f'{d}x' for d in self.shape)}{self.element}>"

    def of(self, name: str, *shape: int) -> _Value:
        return _Value(name, tuple(shape), self.element)


def _value(name: str, text: str) -> _Value:
    match = _TENSOR.fullmatch(text)
    assert match is not None, text
    return _Value(name, tuple(int(d) for d in match[1].split("x") if d), match[2])


def _names(values: Sequence[_Value]) -> str:
    return ", ".join(v.name for v in values)


def _types(values: Sequence[_Value]) -> str:
    return ", ".join(v.type for v in values)


class LoopText:
    """Writes one function, line by line; every method returns the values that it made."""

    def __init__(self, recurrence: Recurrence) -> None:
        self.recurrence = recurrence
        self.lines: list[str] = []
        self.counter = 0
        operands = [_value(f"%arg{i}", t) for i, t in enumerate(recurrence.operand_types)]
        self.operands = operands
        self.consts = operands[: recurrence.num_consts]
        self.init = operands[recurrence.num_consts : recurrence.num_consts + recurrence.num_carry]
        results = [_value("", t) for t in recurrence.result_types]
        self.results = results
        self.step_outputs = results[recurrence.num_carry :]

    def name(self) -> str:
        self.counter += 1
        return f"%v{self.counter}"

    def add(self, line: str) -> None:
        self.lines.append(line)

    def start(self, symbol: str) -> list[_Value]:
        arguments = ", ".join(f"{v.name}: {v.type}" for v in self.operands)
        self.add(f"func.func private @{symbol}({arguments}) -> ({_types(self.results)}) {{")
        xs = self.operands[len(self.consts) + len(self.init) :]
        return [self.reversed(x) for x in xs] if self.recurrence.reverse else xs

    def finish(self, carry: list[_Value], parts: list[list[_Value]]) -> str:
        outputs = []
        for pieces in zip(*parts, strict=True):
            whole = self.concatenate(list(pieces))
            outputs.append(self.reversed(whole) if self.recurrence.reverse else whole)
        self.add(f"return {_names([*carry, *outputs])} : {_types([*carry, *outputs])}")
        self.add("}")
        return "\n".join(self.lines)

    def constant(self, value: int) -> _Value:
        result = _Value(self.name(), (), "i32")
        self.add(f"{result.name} = stablehlo.constant dense<{value}> : tensor<i32>")
        return result

    def zeros(self, like: _Value, *shape: int) -> _Value:
        zero = like.of(self.name())
        literal = "false" if like.element == "i1" else "0.0" if "f" in like.element else "0"
        if like.element.startswith("complex"):
            literal = "(0.0, 0.0)"
        self.add(f"{zero.name} = stablehlo.constant dense<{literal}> : {zero.type}")
        result = like.of(self.name(), *shape)
        self.add(
            f"{result.name} = stablehlo.broadcast_in_dim {zero.name}, dims = [] : "
            f"({zero.type}) -> {result.type}"
        )
        return result

    def reversed(self, value: _Value) -> _Value:
        result = value.of(self.name(), *value.shape)
        self.add(f"{result.name} = stablehlo.reverse {value.name}, dims = [0] : {result.type}")
        return result

    def slice(self, value: _Value, start: int, size: int) -> _Value:
        result = value.of(self.name(), size, *value.shape[1:])
        ranges = ", ".join([f"{start}:{start + size}", *(f"0:{d}" for d in value.shape[1:])])
        self.add(
            f"{result.name} = stablehlo.slice {value.name} [{ranges}] : "
            f"({value.type}) -> {result.type}"
        )
        return result

    def concatenate(self, pieces: list[_Value]) -> _Value:
        if len(pieces) == 1:
            return pieces[0]
        steps = sum(p.shape[0] for p in pieces)
        result = pieces[0].of(self.name(), steps, *pieces[0].shape[1:])
        self.add(
            f"{result.name} = stablehlo.concatenate {_names(pieces)}, dim = 0 : "
            f"({_types(pieces)}) -> {result.type}"
        )
        return result

    def take(self, value: _Value, at: _Value, size: int, zero: _Value) -> _Value:
        result = value.of(self.name(), size, *value.shape[1:])
        starts = [at, *([zero] * (len(value.shape) - 1))]
        sizes = ", ".join(map(str, result.shape))
        self.add(
            f"{result.name} = stablehlo.dynamic_slice {value.name}, {_names(starts)}, "
            f"sizes = [{sizes}] : ({value.type}, {_types(starts)}) -> {result.type}"
        )
        return result

    def put(self, into: _Value, value: _Value, at: _Value, zero: _Value) -> _Value:
        result = into.of(self.name(), *into.shape)
        starts = [at, *([zero] * (len(into.shape) - 1))]
        self.add(
            f"{result.name} = stablehlo.dynamic_update_slice {into.name}, {value.name}, "
            f"{_names(starts)} : ({into.type}, {value.type}, {_types(starts)}) -> {result.type}"
        )
        return result

    def reshaped(self, value: _Value, *shape: int) -> _Value:
        result = value.of(self.name(), *shape)
        self.add(
            f"{result.name} = stablehlo.reshape {value.name} : ({value.type}) -> {result.type}"
        )
        return result

    def cell(self, carry: list[_Value], xs: list[_Value]) -> tuple[list[_Value], list[_Value]]:
        arguments = [*self.consts, *carry, *xs]
        results = [*carry, *(y.of("", *y.shape[1:]) for y in self.step_outputs)]
        base = self.name()
        count = f":{len(results)}" if len(results) > 1 else ""
        self.add(
            f"{base}{count} = func.call @{self.recurrence.cell}({_names(arguments)}) : "
            f"({_types(arguments)}) -> ({_types(results)})"
        )
        made = _parts(base, results)
        return made[: len(carry)], made[len(carry) :]

    def steps(
        self, carry: list[_Value], xs: list[_Value], size: int
    ) -> tuple[list[_Value], list[_Value]]:
        """`size` steps of the cell in one loop."""

        def body(at: _Value, zero: _Value, carry: list[_Value], ys: list[_Value]):
            rows = [self.take(x, at, 1, zero) for x in xs]
            now = [self.reshaped(row, *row.shape[1:]) for row in rows]
            carry, out = self.cell(carry, now)
            rows = [self.reshaped(y, 1, *y.shape) for y in out]
            return carry, [self.put(b, r, at, zero) for b, r in zip(ys, rows, strict=True)]

        return self._while(carry, size, size, body)

    def chunks(
        self, carry: list[_Value], xs: list[_Value], count: int, chunk: int
    ) -> tuple[list[_Value], list[_Value]]:
        """`count` times `chunk` steps, in two nested loops."""

        def body(index: _Value, zero: _Value, carry: list[_Value], ys: list[_Value]):
            at = _Value(self.name(), (), "i32")
            size = self.constant(chunk)
            self.add(f"{at.name} = stablehlo.multiply {index.name}, {size.name} : tensor<i32>")
            pieces = [self.take(x, at, chunk, zero) for x in xs]
            carry, out = self.steps(carry, pieces, chunk)
            return carry, [self.put(b, y, at, zero) for b, y in zip(ys, out, strict=True)]

        return self._while(carry, count, count * chunk, body)

    def _while(self, carry, trips, rows, body) -> tuple[list[_Value], list[_Value]]:
        zero, one, limit = self.constant(0), self.constant(1), self.constant(trips)
        buffers = [self.zeros(y, rows, *y.shape[1:]) for y in self.step_outputs]
        start = [zero, *carry, *buffers]
        inside = [v.of(self.name(), *v.shape) for v in start]
        base = self.name()
        bound = ", ".join(f"{i.name} = {v.name}" for i, v in zip(inside, start, strict=True))
        self.add(f"{base}:{len(start)} = stablehlo.while({bound}) : {_types(start)}")
        less = self.name()
        self.add(
            f"cond {{ {less} = stablehlo.compare LT, {inside[0].name}, {limit.name}, SIGNED : "
            f"(tensor<i32>, tensor<i32>) -> tensor<i1>\n"
            f"stablehlo.return {less} : tensor<i1> }} do {{"
        )
        count = len(carry)
        new_carry, new_ys = body(inside[0], zero, inside[1 : 1 + count], inside[1 + count :])
        after = _Value(self.name(), (), "i32")
        self.add(f"{after.name} = stablehlo.add {inside[0].name}, {one.name} : tensor<i32>")
        back = [after, *new_carry, *new_ys]
        self.add(f"stablehlo.return {_names(back)} : {_types(back)} }}")
        made = _parts(base, start)
        return made[1 : 1 + count], made[1 + count :]


def _parts(base: str, values: Sequence[_Value]) -> list[_Value]:
    if len(values) == 1:
        return [values[0].of(base, *values[0].shape)]
    return [v.of(f"{base}#{i}", *v.shape) for i, v in enumerate(values)]
