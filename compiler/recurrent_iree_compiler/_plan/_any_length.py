"""Functions that run any number of steps or rows: what the planner needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._recurrence import find_recurrences, functions, walk


class NotForAnyLength(Exception):
    """A target has no form for a function of any length; the program runs in chunks there."""


def bodies_of_any_length(module: Module) -> set[str]:
    """Functions that only say what a recurrence of any size does; its kernel replaces them."""
    found = find_recurrences(module)
    by_symbol = functions(module)
    roots = [name for name, op in by_symbol.items() if _is_public(op)]
    bodies = {r.symbol for r in found if r.any_length or r.any_rows}
    if not bodies:
        return set()
    return _reached(bodies, by_symbol, set()) - _reached(roots, by_symbol, bodies)


def drop_unused(module: Module) -> None:
    """Erase private functions that no public one uses any more."""
    by_symbol = functions(module)
    roots = [name for name, op in by_symbol.items() if _is_public(op)]
    used = _reached(roots, by_symbol, set())
    for name, op in by_symbol.items():
        if name not in used:
            op.erase()


def _is_public(op: Any) -> bool:
    if "sym_visibility" not in op.attributes:
        return True
    return ir.StringAttr(op.attributes["sym_visibility"]).value == "public"


def _reached(roots: Iterable[str], by_symbol: dict[str, Any], stop: set[str]) -> set[str]:
    seen: set[str] = set()
    pending = list(roots)
    while pending:
        name = pending.pop()
        if name in seen or name in stop or name not in by_symbol:
            continue
        seen.add(name)
        for op in walk(by_symbol[name]):
            for key in ("callee", "decomposition"):
                if key in op.attributes:
                    pending.append(ir.FlatSymbolRefAttr(op.attributes[key]).value)
    return seen
