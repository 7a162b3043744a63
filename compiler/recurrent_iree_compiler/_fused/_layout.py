"""Reading inputs and writing outputs batch first, where the program has them so.

Layers take and give ``[batch, time, ...]``, loops run over ``[time, batch, ...]``. A transpose
between them is a pass over memory, and a second copy of it; a kernel only needs other strides.
"""

from __future__ import annotations

from typing import Any

from ._attrs import made_by, read_attributes
from ._ir import Cell, Value


def batch_first(cell: Cell, batch: dict[Value, int], composite: Any) -> None:
    """Note in `cell` which stacked values lie batch first, and take them so from outside."""
    if cell.rows or cell.any_length or cell.length == 1:
        return
    given = cell.given(composite)
    for x in cell.xs:
        op = made_by(given[x])
        if batch.get(x) == 0 and op is not None and _swaps(op):
            cell.batch_first.add(x)
            cell.extra[x] = op.operands[0]
    for number, y in enumerate(cell.ys):
        if batch.get(y) == 0 and _transposed(composite, len(cell.carry) + number) is not None:
            cell.ys_batch_first.add(number)


def replace_output(composite: Any, cell: Cell, number: int, new: Any) -> None:
    """Let `new` take the place of result `number` of `composite`."""
    if number - len(cell.carry) in cell.ys_batch_first:
        transpose = _transposed(composite, number)
        transpose.results[0].replace_all_uses_with(new)
        transpose.erase()
    else:
        composite.results[number].replace_all_uses_with(new)


def output_type(composite: Any, cell: Cell, number: int) -> Any:
    """The type of result `number` of `composite`, as the kernel writes it."""
    if number - len(cell.carry) in cell.ys_batch_first:
        return _transposed(composite, number).results[0].type
    return composite.results[number].type


def _transposed(composite: Any, number: int) -> Any:
    """The transpose that is all that reads a result, or ``None``."""
    uses = list(composite.results[number].uses)
    user = uses[0].owner.operation if len(uses) == 1 else None
    return user if user is not None and _swaps(user) else None


def _swaps(op: Any) -> bool:
    """Whether `op` swaps the first two axes."""
    if op.name != "stablehlo.transpose":
        return False
    order = read_attributes(op, "transpose")["permutation"]
    return order == (1, 0, *range(2, len(order)))
