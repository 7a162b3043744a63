"""The front door: one composite in, a kernel or a refusal out; and putting the kernel in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recurrent_iree_compiler._mlir import Module, ir

from ._absorb import absorb_products
from ._any_rows import check_rows
from ._batch import find_batch
from ._chain import chain_products
from ._executable import Executable
from ._explain import KernelPlan, explain
from ._invariant import hoist
from ._ir import Cell, Op, Refused, Value
from ._kernel import Kernel
from ._layout import batch_first, output_type, replace_output
from ._machine import Machine
from ._many_rows import FEWEST_ROWS
from ._narrow import Narrow, build, narrow_weights
from ._parse import parse_recurrence
from ._slices import push_slices
from ._stages import Stages
from ._sums import vector_products_to_sums
from ._wrapper import Wrapper

LARGEST_KERNEL = 20_000
MOST_BINDINGS = 32


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
        packers: the text of the executables that pack weights, by their symbols.
        plan: stages, tiles, buffers and reasons, for people and as JSON.
    """

    name: str
    executable: str
    wrapper: str
    packers: dict[str, str]
    plan: KernelPlan
    cell: Cell = field(repr=False)
    takes: Wrapper = field(repr=False)


def try_fuse(
    module: Module,
    composite: Any,
    machine: Machine,
    *,
    name: str = "recurrence_kernel",
    share: int | None = None,
) -> FusedKernel | Refusal:
    """Compile the ``recurrent_iree.recurrence`` `composite` of `module` to one kernel.

    Args:
        module: StableHLO with the functions that the composite names.
        composite: the ``stablehlo.composite`` operation.
        machine: what is known of the CPU; see `known_machine`.
        name: symbol for the executable; must be new in `module`.
        share: how many workgroups share each step; ``None`` leaves it to the cost model.

    The spliced module must be compiled with ``--iree-input-demote-f64-to-f32=false``.

    Returns:
        The kernel, for `splice`; or what stands in the way. `module` is not changed.
    """
    with module.context, ir.Location.unknown(module.context):
        try:
            cell = parse_recurrence(module, composite)
            if not cell.rows and find_batch(cell):
                absorb_products(cell, composite, machine)
            return fuse_cell(cell, composite, machine, name, share)
        except Refused as refused:
            return Refusal(refused.op, refused.reason)


def fuse_cell(
    cell: Cell, composite: Any, machine: Machine, name: str, share: int | None = None
) -> FusedKernel:
    """The kernel for `cell`, whose arguments and results are those of the operation `composite`.

    Raises:
        Refused: something in it has no place in a kernel.
    """
    hoist(cell)
    vector_products_to_sums(cell)
    push_slices(cell)
    narrow = narrow_weights(composite, cell)
    if not cell.rows and _rows(find_batch(cell)) >= FEWEST_ROWS:
        chain_products(cell, [v for v, n in narrow.items() if n.varies is not None])
    batch = find_batch(cell)
    check_rows(cell, batch)
    batch_first(cell, batch, composite)
    stages = Stages(cell, batch)
    executable = _executable(cell, stages, machine, name, narrow, share)
    wrapper = Wrapper(executable, f"{name}.call")
    plan = explain(executable.kernel, executable)
    packers = wrapper.packs.executables
    return FusedKernel(name, executable.text, wrapper.text, packers, plan, cell, wrapper)


def _rows(batch: dict[Value, int]) -> int:
    return next((value.shape[axis] for value, axis in batch.items()), 1)


def _executable(
    cell: Cell,
    stages: Stages,
    machine: Machine,
    name: str,
    narrow: dict[Value, Narrow],
    share: int | None,
) -> Executable:
    kernel = Kernel(cell, stages, machine, None, narrow, share)
    if len(kernel.w.lines) > LARGEST_KERNEL:
        raise Refused("recurrent_iree.cell", f"a kernel of {len(kernel.w.lines)} lines")
    executable = Executable(kernel, name)
    if executable.bindings > MOST_BINDINGS and (cell.any_length or cell.rows):
        raise Refused("recurrent_iree.cell", f"{executable.bindings} buffers, for any size")
    if executable.bindings > MOST_BINDINGS:
        direct = {part.value for b in executable.consts for part in b.parts}
        executable = Executable(Kernel(cell, stages, machine, direct, narrow, share), name)
    if executable.bindings > MOST_BINDINGS:
        raise Refused("recurrent_iree.cell", f"{executable.bindings} buffers; IREE allows 32")
    return executable


def splice(module: Module, composite: Any, kernel: FusedKernel, spliced: dict[str, str]) -> None:
    """Replace `composite` by `kernel`, in place.

    `spliced` remembers the kernels and packers that `module` has, so that equal ones become one.
    """
    context = module.context
    with context, ir.Location.unknown(context):
        own = f"{kernel.executable}\n{kernel.wrapper}"
        content = own.replace(kernel.name, "")
        if content not in spliced:
            spliced[content] = kernel.takes.name
            packers = "".join(kernel.packers.values())
            made = ir.Module.parse(f"module {{\n{own}\n{packers}\n}}", context)
            for op in list(made.body.operations):
                symbol = ir.StringAttr(op.operation.attributes["sym_name"]).value
                if symbol in spliced:
                    continue
                if symbol in kernel.packers:
                    spliced[symbol] = symbol
                op.operation.detach_from_parent()
                module.body.append(op)
        values = _outside_values(composite, kernel.cell)
        results = _call(composite, kernel, values, spliced[content])
        count = len(kernel.cell.carry)
        made = {n if role == "last" else count + n: value for (role, n), value in results}
        for number in range(len(composite.results)):
            same = number not in made
            new = composite.operands[_position(kernel.cell, number)] if same else made[number]
            replace_output(composite, kernel.cell, number, new)
        block = composite.block
        composite.erase()
        erase_unused(block)


def erase_unused(block: Any) -> None:
    """Erase what nothing reads any more, so that nobody counts it."""
    for op in reversed([o.operation for o in block.operations]):
        unused = op.results and not any(list(r.uses) for r in op.results)
        if unused and op.name.startswith("stablehlo.") and op.name != "stablehlo.custom_call":
            op.erase()


def _position(cell: Cell, carry: int) -> int:
    return cell.arguments.index(cell.carry[carry])


def _outside_values(composite: Any, cell: Cell) -> dict[Value, Any]:
    """The MLIR values of what the cell reads from outside; clones before `composite` make them."""
    values = cell.given(composite)
    for op in cell.outside:
        clone = _clone(op, composite, [values[v] for v in op.operands])
        values.update(zip(op.results, clone.results, strict=True))
    return values


def _clone(op: Op, before: Any, operands: list[Any]) -> Any:
    clone = op.source.clone(ip=ir.InsertionPoint(before))
    for number, operand in enumerate(operands):
        clone.operation.operands[number] = operand
    return clone.operation


def _apart(value: Any, before: Any) -> Any:
    """`value`, behind a barrier if it is of bools that others use, too.

    The kernel takes bools as bytes. IREE 3.13 puts the conversion into the dispatch that makes the
    bools, and cannot compile one that writes both.
    """
    if not str(value.type).endswith("xi1>") or len(list(value.uses)) < 2:
        return value
    barrier = ir.Operation.create(
        "stablehlo.optimization_barrier",
        results=[value.type],
        operands=[value],
        ip=ir.InsertionPoint(before),
    )
    return barrier.results[0]


def _call(
    composite: Any, kernel: FusedKernel, values: dict[Value, Any], wrapper_name: str
) -> list[Any]:
    """The call of the wrapper: ``((role, number), value)`` for each result."""
    wrapper, cell = kernel.takes, kernel.cell
    narrow = wrapper.executable.kernel.narrow
    fixed = [
        values[v] if source == "const" else build(narrow[v], source, values, composite)
        for source, v in wrapper.fixed
    ]
    taken = [
        _apart(values[v], composite) for v in (*(cell.carry[n] for n in wrapper.carries), *cell.xs)
    ]
    count = len(cell.carry)
    numbers = [n if role == "last" else count + n for role, n in wrapper.order]
    types = [output_type(composite, cell, number) for number in numbers]
    call = ir.Operation.create(
        "func.call",
        results=types,
        operands=[*fixed, *taken],
        attributes={"callee": ir.FlatSymbolRefAttr.get(wrapper_name)},
        ip=ir.InsertionPoint(composite),
    )
    return list(zip(wrapper.order, call.results, strict=True))
