"""The front door: one composite in, a kernel or a refusal out; and putting the kernel in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from iree.compiler import ir

from ._batch import find_batch
from ._executable import Executable
from ._explain import KernelPlan, explain
from ._invariant import hoist
from ._ir import Cell, Op, Refused, Value
from ._kernel import Kernel
from ._machine import Machine
from ._parse import parse_recurrence
from ._slices import push_slices
from ._stages import Stages
from ._wrapper import Wrapper

LARGEST_KERNEL = 20_000


@dataclass(frozen=True)
class Refusal:
    """Why a recurrence has no kernel: the operation that stands in the way, and the reason."""

    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.op}: {self.reason}"


@dataclass
class FusedKernel:
    """A recurrence as one dispatch.

    Attributes:
        name: symbol of the executable; the function around it is ``<name>.call``.
        executable: text of the ``stream.executable``.
        wrapper: text of the function that packs weights and dispatches.
        plan: stages, tiles, buffers and reasons, for people and as JSON.
    """

    name: str
    executable: str
    wrapper: str
    plan: KernelPlan
    cell: Cell = field(repr=False)
    takes: Wrapper = field(repr=False)


def try_fuse(
    module: ir.Module, composite: Any, machine: Machine, *, name: str = "recurrence_kernel"
) -> FusedKernel | Refusal:
    """Compile the ``recurrent_iree.recurrence`` `composite` of `module` to one kernel.

    Args:
        module: StableHLO with the functions that the composite names.
        composite: the ``stablehlo.composite`` operation.
        machine: what is known of the CPU; see `known_machine`.
        name: symbol for the executable; must be new in `module`.

    Returns:
        The kernel, for `splice`; or what stands in the way. `module` is not changed.
    """
    with module.context, ir.Location.unknown(module.context):
        try:
            cell = parse_recurrence(module, composite)
            hoist(cell)
            push_slices(cell)
            stages = Stages(cell, find_batch(cell))
            kernel = Kernel(cell, stages, machine)
        except Refused as refused:
            return Refusal(refused.op, refused.reason)
        if len(kernel.w.lines) > LARGEST_KERNEL:
            return Refusal("recurrent_iree.cell", f"a kernel of {len(kernel.w.lines)} lines")
        executable = Executable(kernel, name)
        wrapper = Wrapper(executable, f"{name}.call")
        plan = explain(kernel, executable)
        return FusedKernel(name, executable.text, wrapper.text, plan, cell, wrapper)


def splice(module: ir.Module, composite: Any, kernel: FusedKernel) -> None:
    """Replace `composite` by `kernel`, in place."""
    context = module.context
    with context, ir.Location.unknown(context):
        text = f"module {{\n{kernel.executable}\n{kernel.wrapper}\n}}"
        made = ir.Module.parse(text, context)
        for op in list(made.body.operations):
            op.operation.detach_from_parent()
            module.body.append(op)
        values = _outside_values(composite, kernel.cell)
        results = _call(composite, kernel, values)
        same = {n: composite.operands[_position(kernel.cell, n)] for n in _kept(kernel.cell)}
        for number, old in enumerate(list(composite.results)):
            old.replace_all_uses_with(same[number] if number in same else results.pop(0))
        composite.erase()


def _kept(cell: Cell) -> list[int]:
    return [n for n, (a, b) in enumerate(zip(cell.carry, cell.carry_out, strict=True)) if a is b]


def _position(cell: Cell, carry: int) -> int:
    return cell.arguments.index(cell.carry[carry])


def _outside_values(composite: Any, cell: Cell) -> dict[Value, Any]:
    """The MLIR values of what the cell reads from outside; clones before `composite` make them."""
    values = dict(zip(cell.arguments, composite.operands, strict=True))
    for op in cell.outside:
        clone = _clone(op, composite, [values[v] for v in op.operands])
        values.update(zip(op.results, clone.results, strict=True))
    return values


def _clone(op: Op, before: Any, operands: list[Any]) -> Any:
    clone = op.source.clone(ip=ir.InsertionPoint(before))
    for number, operand in enumerate(operands):
        clone.operation.operands[number] = operand
    return clone.operation


def _call(composite: Any, kernel: FusedKernel, values: dict[Value, Any]) -> list[Any]:
    wrapper, cell = kernel.takes, kernel.cell
    taken = [*wrapper.fixed, *(cell.carry[n] for n in wrapper.carries), *cell.xs]
    types = [r.type for n, r in enumerate(composite.results) if n not in _kept(cell)]
    call = ir.Operation.create(
        "func.call",
        results=types,
        operands=[values[v] for v in taken],
        attributes={"callee": ir.FlatSymbolRefAttr.get(wrapper.name)},
        ip=ir.InsertionPoint(composite),
    )
    return list(call.results)
