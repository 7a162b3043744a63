"""Recurrences in a StableHLO module: finding the composites and reading their attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

RECURRENCE = "recurrent_iree.recurrence"
CELL = "recurrent_iree.cell"
VERSION = 1


@dataclass(frozen=True)
class Recurrence:
    """One ``stablehlo.composite "recurrent_iree.recurrence"``.

    Operands are the constants, the initial carry and the step inputs (time is their leading axis);
    results are the last carry and the step outputs (time leads there too).

    Attributes:
        op: the composite operation.
        symbol: the function that is its plain-loop decomposition.
        cell: the function of one step: ``(consts, carry, x_t) -> (carry, y_t)``.
        num_consts, num_carry, num_xs, length, reverse: as captured.
        any_rows: whether the number of rows is known only when it runs.
    """

    op: Any
    symbol: str
    cell: str
    num_consts: int
    num_carry: int
    num_xs: int
    length: int
    reverse: bool
    any_rows: bool = False

    @property
    def any_length(self) -> bool:
        """Whether the number of steps is known only when it runs."""
        return self.length < 0

    @property
    def operand_types(self) -> list[str]:
        return [str(v.type) for v in self.op.operands]

    @property
    def result_types(self) -> list[str]:
        return [str(v.type) for v in self.op.results]


def walk(op: Any) -> Iterator[Any]:
    """Every operation below `op`, in order, parents first."""
    for region in op.regions:
        for block in region.blocks:
            for child in block.operations:
                yield child.operation
                yield from walk(child.operation)


def functions(module: Module) -> dict[str, Any]:
    """The functions of `module` by symbol."""
    return {
        ir.StringAttr(op.operation.attributes["sym_name"]).value: op.operation
        for op in module.body.operations
        if op.operation.name == "func.func"
    }


def rename_templates(module: Module, new_name: Callable[[str], str]) -> None:
    """Follow a renaming of functions in the attribute that names the step for any rows.

    It is a string, because portable StableHLO has no symbols there.
    """
    for op in walk(module.operation):
        if "composite_attributes" not in op.attributes:
            continue
        given = ir.DictAttr(op.attributes["composite_attributes"])
        if "template" in given:
            named = {given[n].name: given[n].attr for n in range(len(given))}
            old = ir.StringAttr(given["template"]).value
            named["template"] = ir.StringAttr.get(new_name(old), module.context)
            op.attributes["composite_attributes"] = ir.DictAttr.get(named, module.context)


def find_recurrences(module: Module) -> list[Recurrence]:
    """The recurrences of `module` that are not inside the decomposition of another one."""
    by_symbol = functions(module)
    return [
        _read(op, by_symbol)
        for _, op in _outside_of_recurrences(by_symbol)
        if op.name == "stablehlo.composite" and _name(op) == RECURRENCE
    ]


def find_other_loops(module: Module) -> list[tuple[str, str]]:
    """The loops outside of recurrences: the function that each is in, and what it carries."""
    return [
        (symbol, ", ".join(str(v.type) for v in op.operands))
        for symbol, op in _outside_of_recurrences(functions(module))
        if op.name == "stablehlo.while"
    ]


def _outside_of_recurrences(by_symbol: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for symbol, function in by_symbol.items():
        if not symbol.startswith((RECURRENCE, CELL)) and f".{RECURRENCE}" not in symbol:
            yield from ((symbol, op) for op in walk(function))


def _name(op: Any) -> str:
    return ir.StringAttr(op.attributes["name"]).value


def _decomposition(op: Any) -> str:
    return ir.FlatSymbolRefAttr(op.attributes["decomposition"]).value


def _read(op: Any, by_symbol: dict[str, Any]) -> Recurrence:
    attributes = ir.DictAttr(op.attributes["composite_attributes"])

    def number(key: str) -> int:
        return ir.IntegerAttr(attributes[key]).value

    symbol = _decomposition(op)
    return Recurrence(
        op=op,
        symbol=symbol,
        cell=_find_cell(by_symbol[symbol], by_symbol),
        num_consts=number("num_consts"),
        num_carry=number("num_carry"),
        num_xs=number("num_xs"),
        length=number("length"),
        reverse=ir.BoolAttr(attributes["reverse"]).value,
        any_rows="rows" in attributes,
    )


def _find_cell(function: Any, by_symbol: dict[str, Any]) -> str:
    for op in walk(function):
        if op.name == "stablehlo.composite" and _name(op) == CELL:
            return _decomposition(op)
        if op.name == "func.call":
            callee = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
            found = _find_cell(by_symbol[callee], by_symbol)
            if found:
                return found
    return ""
