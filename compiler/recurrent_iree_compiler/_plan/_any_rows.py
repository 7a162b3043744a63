"""Recurrences of any number of rows that have no kernel: their steps, one after the other.

In a loop IREE 3.13 forgets where it keeps what is carried, if its size is not known. Steps that are
written out need no loop. A few have a place in a module; more of them are refused.
"""

from __future__ import annotations

import re
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir
from recurrent_iree_runtime import UnsupportedError

from ._recurrence import Recurrence, functions

MOST_STEPS = 32
_INSTEAD = 'Name the sizes, for example "batch=1|8"'
_UNSIGNED = re.compile(r"[<x]ui\d")


def check_any_rows(recurrence: Recurrence, target: str, driver: str, why: str) -> None:
    """Refuse a recurrence of any number of rows that can neither be a kernel nor a few steps.

    `why` says why it is no kernel.

    Raises:
        UnsupportedError: it has too many steps, or the target's devices cannot be trusted with it.
    """
    steps = "any number of" if recurrence.any_length else str(recurrence.length)
    if driver != "cpu":
        rest = f"Its {steps} steps are written out for CPUs only"
    elif not 1 <= recurrence.length <= MOST_STEPS:
        rest = f"Up to {MOST_STEPS} steps are written out one after the other; it has {steps}"
    elif any(map(_UNSIGNED.search, [*recurrence.operand_types, *recurrence.result_types])):
        rest = "Steps with unsigned integers cannot be written out one after the other"
    else:
        return
    raise UnsupportedError(
        f"the recurrence {recurrence.symbol!r} has no kernel for {target!r}: {why}. "
        "A loop over a number of rows that is not known needs one, because IREE 3.13 computes "
        f"wrong numbers without. {rest}. {_INSTEAD}"
    )


def steps_in_a_row(module: Module, symbol: str, recurrence: Recurrence) -> str:
    """A function that runs the recurrence without a loop; its sizes may be unknown."""
    with module.context:
        return _Steps(module, recurrence).text(symbol)


class _Steps:
    """Writes the function."""

    def __init__(self, module: Module, recurrence: Recurrence) -> None:
        self.recurrence = recurrence
        cell = functions(module)[recurrence.cell]
        kind = ir.FunctionType(ir.TypeAttr(cell.attributes["function_type"]).value)
        self.takes, self.gives = list(kind.inputs), list(kind.results)
        self.lines: list[str] = []
        self.numbers = 0

    def text(self, symbol: str) -> str:
        made = self.recurrence
        first, last = made.num_consts, made.num_consts + made.num_carry
        given = [f"%arg{n}" for n in range(len(made.operand_types))]
        carry, outputs = given[first:last], [""] * (len(self.gives) - made.num_carry)
        steps = range(made.length)
        for step in reversed(steps) if made.reverse else steps:
            now = [
                self._slice(x, kind, step)
                for x, kind in zip(given[last:], self.takes[last:], strict=True)
            ]
            results = self._cell([*given[:first], *carry, *now])
            carry = results[: made.num_carry]
            outputs = [
                self._put(whole, y, kind, step)
                for whole, y, kind in zip(
                    outputs, results[made.num_carry :], self.gives[made.num_carry :], strict=True
                )
            ]
        takes = ", ".join(f"{n}: {t}" for n, t in zip(given, made.operand_types, strict=True))
        gives = ", ".join(made.result_types)
        body = "\n  ".join([*self.lines, f"return {', '.join([*carry, *outputs])} : {gives}"])
        return f"func.func private @{symbol}({takes}) -> ({gives}) {{\n  {body}\n}}"

    def _op(self, text: str) -> str:
        self.numbers += 1
        self.lines.append(f"%v{self.numbers} = {text}")
        return f"%v{self.numbers}"

    def _cell(self, arguments: list[str]) -> list[str]:
        takes, gives = (", ".join(map(str, kinds)) for kinds in (self.takes, self.gives))
        call = f"func.call @{self.recurrence.cell}({', '.join(arguments)}) : ({takes}) -> ({gives})"
        count = len(self.gives)
        self.numbers += 1
        base = f"%v{self.numbers}"
        self.lines.append(f"{base}{f':{count}' if count > 1 else ''} = {call}")
        return [f"{base}#{n}" for n in range(count)] if count > 1 else [base]

    def _slice(self, x: str, kind: Any, step: int) -> str:
        """One step of the input `x`."""
        shape = ir.RankedTensorType(kind)
        sizes = self._sizes(x, shape, 1)
        place = self._place(shape.rank, sizes, step)
        return self._op(f"tensor.extract_slice {x}{place} : {self._stacked(shape)} to {kind}")

    def _put(self, whole: str, y: str, kind: Any, step: int) -> str:
        """`whole`, or a new array, with the output `y` of a step."""
        shape = ir.RankedTensorType(kind)
        sizes, stacked = self._sizes(y, shape, 0), self._stacked(shape)
        if not whole:
            unknown = ", ".join(s for s in sizes if s.startswith("%"))
            whole = self._op(f"tensor.empty({unknown}) : {stacked}")
        place = self._place(shape.rank, sizes, step)
        return self._op(f"tensor.insert_slice {y} into {whole}{place} : {kind} into {stacked}")

    def _stacked(self, shape: Any) -> str:
        sizes = ["?" if shape.is_dynamic_dim(a) else str(shape.shape[a]) for a in range(shape.rank)]
        return f"tensor<{'x'.join([str(self.recurrence.length), *sizes])}x{shape.element_type}>"

    def _sizes(self, value: str, shape: Any, before: int) -> list[str]:
        """The sizes of a step of `value`, which has as many axes `before`."""
        sizes = []
        for axis in range(shape.rank):
            size = "" if shape.is_dynamic_dim(axis) else str(shape.shape[axis])
            if not size:
                at = self._op(f"arith.constant {axis + before} : index")
                kind = self._stacked(shape) if before else shape
                size = self._op(f"tensor.dim {value}, {at} : {kind}")
            sizes.append(size)
        return sizes

    def _place(self, rank: int, sizes: list[str], step: int) -> str:
        starts = ", ".join([str(step), *["0"] * rank])
        return f"[{starts}] [{', '.join(['1', *sizes])}] [{', '.join(['1'] * (rank + 1))}]"
