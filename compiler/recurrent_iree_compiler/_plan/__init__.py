"""The plan stage: which form each recurrence takes on a target, and why."""

from __future__ import annotations

from recurrent_iree_compiler._mlir import Module, ir

from ._decision import Decision as Decision, Form as Form
from ._loops import PLAIN_UP_TO, chunk_in_a_row, chunk_of_nested, loops_in_a_row, nested_loop
from ._recurrence import (
    Recurrence as Recurrence,
    find_recurrences as find_recurrences,
    functions,
    walk as walk,
)
from ._safety import check_loops as check_loops

# Nested loops lose the device of software Vulkan drivers, so only these drivers get them.
_NESTING_DRIVERS = frozenset({"cpu", "vmvx"})


def plan_module(module: Module, driver: str) -> list[Decision]:
    """Choose a form for every recurrence of `module` and rewrite it in place.

    Args:
        module: linked StableHLO; recurrences are ``recurrent_iree.recurrence`` composites.
        driver: the driver of the target: ``"cpu"``, ``"vulkan"``, ``"cuda"``, …

    Returns:
        One decision for each recurrence, in order.

    Raises:
        UnsupportedError: the module has a loop that IREE is known to miscompile.
    """
    check_loops(module)
    return [
        _plan_recurrence(module, recurrence, driver, index)
        for index, recurrence in enumerate(find_recurrences(module))
    ]


def _plan_recurrence(module: Module, recurrence: Recurrence, driver: str, index: int) -> Decision:
    has_outputs = len(recurrence.result_types) > recurrence.num_carry
    length = recurrence.length
    if not has_outputs:
        reason = "it stacks no outputs, so a plain loop costs the same at every step"
        return Decision(recurrence.symbol, "plain loop", reason, length)
    if length <= PLAIN_UP_TO:
        reason = f"{length} steps are few enough that the copies of its outputs cost little"
        return Decision(recurrence.symbol, "plain loop", reason, length)
    symbol = f"{recurrence.symbol}.planned{index}"
    if driver in _NESTING_DRIVERS:
        chunk = chunk_of_nested(length)
        text = nested_loop(symbol, recurrence, chunk)
        form, reason = "nested loop", "a plain loop copies all outputs at every step"
    else:
        chunk = chunk_in_a_row(length)
        text = loops_in_a_row(symbol, recurrence, chunk)
        form = "loops in a row"
        reason = "a plain loop copies all outputs at every step, and nested loops can lose a GPU"
    _redirect(module, recurrence, symbol, text)
    return Decision(recurrence.symbol, form, reason, length, {"chunk": chunk})


def _redirect(module: Module, recurrence: Recurrence, symbol: str, text: str) -> None:
    """Add the function `text` to `module` and make it the decomposition of the recurrence."""
    cell = functions(module)[recurrence.cell]
    signature = ir.TypeAttr(cell.attributes["function_type"]).value
    declared = f"func.func private @{recurrence.cell}{signature}"
    with module.context, ir.Location.unknown(module.context):
        scratch = ir.Module.parse(f"module {{\n{declared}\n{text}\n}}", module.context)
        made = functions(scratch)[symbol]
        made.detach_from_parent()
        module.body.append(made)
        recurrence.op.attributes["decomposition"] = ir.FlatSymbolRefAttr.get(symbol)
