"""The plan stage: which form each recurrence takes on a target, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from recurrent_iree_compiler._fused import (
    Refusal,
    known_machine,
    narrow_of,
    splice,
    try_fuse,
)
from recurrent_iree_compiler._mlir import Module, ir
from recurrent_iree_runtime import UnsupportedError

from ._any_length import (
    NotForAnyLength as NotForAnyLength,
    bodies_of_any_length,
    drop_unused,
)
from ._any_rows import check_any_rows, steps_in_a_row
from ._arg_reductions import hold_arg_reductions
from ._decision import Decision as Decision, Form as Form
from ._empty_products import fill_empty_products
from ._gathers import clamp_gathers
from ._half_sums import widen_sums
from ._long_sums import cut_long_sums
from ._loops import (
    PLAIN_UP_TO,
    chunk_in_a_row,
    chunk_of_nested,
    loops_in_a_row,
    nested_loop,
    single_step,
)
from ._options import PlanOptions as PlanOptions
from ._products import count_products, fuse_products
from ._recurrence import (
    Recurrence as Recurrence,
    find_other_loops as find_other_loops,
    find_recurrences as find_recurrences,
    functions,
    rename_templates as rename_templates,
    walk as walk,
)
from ._safety import check_loops as check_loops
from ._scales import sink_scales
from ._scatters import hold_scatters
from ._schedule import Schedule as Schedule, choose_schedule
from ._tiling import Tiling as Tiling, choose_tiling
from ._unknown_sizes import rewrite_unknown_sizes

# Nested loops lose the device of software Vulkan drivers, so only these drivers get them.
_NESTING_DRIVERS = frozenset({"cpu", "vmvx"})
_FUSING_DRIVERS = frozenset({"cpu"})
_WITHOUT_TILES = ("cpu:armv7", "cpu:riscv64", "cpu:wasm32")


def plan_module(
    module: Module, target: str, driver: str, options: PlanOptions | None = None
) -> list[Decision]:
    """Choose a form for every recurrence of `module` and rewrite it in place.

    Args:
        module: linked StableHLO; recurrences are ``recurrent_iree.recurrence`` composites.
        target: the name of the target, such as ``"cpu:x86-64-v3"``.
        driver: the driver of the target: ``"cpu"``, ``"vulkan"``, ``"cuda"``, …
        options: what the caller chose.

    Returns:
        One decision for each recurrence, in order.

    Raises:
        NotForAnyLength: a recurrence of any length has no kernel; loops are for known lengths only.
        UnsupportedError: the module has a loop that IREE is known to miscompile, or a recurrence
            cannot be fused and the options say to refuse it then.
    """
    bodies = bodies_of_any_length(module)
    check_loops(module, bodies)
    fill_empty_products(module)
    clamp_gathers(module)
    hold_scatters(module, bodies)
    if driver in _FUSING_DRIVERS:
        sink_scales(module)
    options = options or PlanOptions()
    if options.fallback == "error":
        _refuse_other_loops(module, target)
    decisions = []
    spliced: dict[str, str] = {}
    for index, recurrence in enumerate(find_recurrences(module)):
        decision = _fuse(module, recurrence, target, driver, options, index, spliced)
        if isinstance(decision, str) and recurrence.any_rows:
            check_any_rows(recurrence, target, driver, decision)
        if isinstance(decision, str) and recurrence.any_length:
            raise NotForAnyLength(decision)
        if isinstance(decision, str):
            if options.fallback == "error":
                raise UnsupportedError(
                    f"the recurrence {recurrence.symbol!r} cannot be fused for {target!r}: "
                    f'{decision}. Allow a loop with fallback="loop"'
                )
            stored = sum(narrow_of(v) is not None for v in recurrence.op.operands)
            decision = _loop(module, recurrence, driver, index, decision)
            if stored:
                decision.details["stored weights"] = (
                    f"{stored} are widened to f32 before the loop, because there is no kernel"
                )
        decisions.append(decision)
    drop_unused(module)
    if any(decision.form == "steps in a row" for decision in decisions):
        check_loops(module)
    if driver in _FUSING_DRIVERS and options.fuse and options.data_tiling is None:
        fuse_products(module, known_machine(target), spliced)
    if driver in _FUSING_DRIVERS:
        widen_sums(module)
    rewrite_unknown_sizes(module)
    hold_arg_reductions(module)
    return decisions


def _refuse_other_loops(module: Module, target: str) -> None:
    for symbol, types in find_other_loops(module):
        raise UnsupportedError(
            f"a loop in {symbol!r} cannot be fused for {target!r}: not fused, because of "
            f"stablehlo.while: it is no recurrence that capture could mark (it carries {types}; "
            "a loop over PRNG keys, or one whose number of steps is not known, is none). "
            'Allow it with fallback="loop"'
        )


def plan_tiling(
    module: Module,
    target: str,
    driver: str,
    decisions: Sequence[Decision],
    options: PlanOptions | None = None,
) -> Tiling | None:
    """Whether the products outside of the loops of a planned `module` are packed; see `Tiling`.

    Of those that are packed, long sums are cut, in place. ``None`` where there is no choice: the
    tiles are those of x86-64 and AArch64.
    """
    if driver != "cpu" or target.startswith(_WITHOUT_TILES):
        return None
    forced = (options or PlanOptions()).data_tiling
    machine = known_machine(target)
    tiling = choose_tiling(module, machine, decisions, forced)
    cut = cut_long_sums(module, machine) if tiling.packed else 0
    return replace(tiling, kernels=count_products(module), cut=cut)


def plan_schedule(
    module: Module, target: str, driver: str, options: PlanOptions | None = None
) -> Schedule | None:
    """Whether kernels of a planned `module` run side by side; ``None`` where there are none."""
    if driver not in _FUSING_DRIVERS:
        return None
    forced = (options or PlanOptions()).side_by_side
    return choose_schedule(module, known_machine(target), forced)


def _fuse(
    module: Module,
    recurrence: Recurrence,
    target: str,
    driver: str,
    options: PlanOptions,
    index: int,
    spliced: dict[str, str],
) -> Decision | str:
    """The decision for a kernel, or why there is none."""
    if not options.fuse:
        return "fusing is switched off"
    if driver not in _FUSING_DRIVERS:
        return f"there are no fused kernels for {driver} yet"
    symbol, length = recurrence.symbol, recurrence.length
    name = f"recurrence{index}"
    result = try_fuse(module, recurrence.op, known_machine(target), name=name, share=options.share)
    if isinstance(result, Refusal):
        return f"not fused, because of {result}"
    splice(module, recurrence.op, result, spliced)
    details: dict[str, Any] = {"plan": result.plan.to_json(), "text": result.plan.text()}
    if result.plan.stored:
        details["stored weights"] = result.plan.stored
    reason = "all its steps run in one dispatch, with the state in cache"
    steps = None if recurrence.any_length else length
    return Decision(symbol, "fused kernel", reason, steps, details)


def _loop(module: Module, recurrence: Recurrence, driver: str, index: int, why: str) -> Decision:
    """Give the recurrence the form of a loop; `why` says why it has no kernel."""
    has_outputs = len(recurrence.result_types) > recurrence.num_carry
    length = recurrence.length
    symbol = f"{recurrence.symbol}.planned{index}"
    if recurrence.any_rows:
        _redirect(module, recurrence, symbol, steps_in_a_row(module, symbol, recurrence))
        reason = f"{why}; a loop with sizes that are not known would give wrong numbers"
        return Decision(recurrence.symbol, "steps in a row", reason, length)
    if length == 1:
        _redirect(module, recurrence, symbol, single_step(symbol, recurrence))
        return Decision(recurrence.symbol, "single step", f"{why}; one step needs no loop", 1)
    if not has_outputs:
        reason = f"{why}; it stacks no outputs, so a plain loop costs the same at every step"
        return Decision(recurrence.symbol, "plain loop", reason, length)
    if length <= PLAIN_UP_TO:
        reason = f"{why}; {length} steps are so few that copying the outputs costs little"
        return Decision(recurrence.symbol, "plain loop", reason, length)
    copies = "a plain loop copies all outputs at every step"
    if driver in _NESTING_DRIVERS:
        chunk = chunk_of_nested(length)
        text = nested_loop(symbol, recurrence, chunk)
        form, reason = "nested loop", f"{why}; {copies}"
    else:
        chunk = chunk_in_a_row(length)
        text = loops_in_a_row(symbol, recurrence, chunk)
        form, reason = "loops in a row", f"{why}; {copies}, and nested loops can lose a GPU"
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
