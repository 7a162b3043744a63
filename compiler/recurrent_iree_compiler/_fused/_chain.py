"""Sums of products share their registers: each product begins with the sum of the one before it.

``x @ W + h @ U`` of many rows runs over ``x`` and then over ``h`` with one set of running sums, so
that it takes as few registers as one product, and more rows can share each load of a weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from ._ir import Cell, Op, Value


def start_of(op: Op) -> Value | None:
    """What the sum of a product begins with, if that is not zero."""
    return op.operands[2] if op.kind == "dot_general" and len(op.operands) > 2 else None


def chain_products(cell: Cell, apart: Collection[Value]) -> None:
    """Rewrite the sums of products in `cell` in place, but not what reads a value of `apart`."""
    chains = _Chains(cell, set(apart))
    made: dict[Op, list[Op]] = {}
    gone: set[Op] = set()
    for op in cell.ops:
        if chains.is_whole_sum(op):
            inner, leaves = chains.leaves(op)
            products = [v for v in leaves if chains.is_product(v)]
            if len(products) > 1:
                made[op] = _chained(op, products, leaves, chains.makers)
                gone.update(inner, (chains.makers[v] for v in products[1:]))
    cell.ops = [new for op in cell.ops if op not in gone for new in made.get(op, [op])]


class _Chains:
    """Sums in a cell, and what they add."""

    def __init__(self, cell: Cell, apart: set[Value]) -> None:
        self.apart = apart
        self.makers = cell.producers()
        self.uses = Counter([*(v for op in cell.ops for v in op.operands), *cell.outputs()])
        self.users = {v: op for op in cell.ops for v in op.operands}

    def is_whole_sum(self, op: Op) -> bool:
        return self._is_sum(op) and not self._is_part(op)

    def is_product(self, value: Value) -> bool:
        op = self.makers.get(value)
        return (
            op is not None
            and op.kind == "dot_general"
            and self.uses[value] == 1
            and not self.apart & set(op.operands)
            and all(v.dtype == value.dtype for v in op.operands)
        )

    def leaves(self, op: Op) -> tuple[list[Op], list[Value]]:
        """The additions inside of the sum `op`, and what they add."""
        inner: list[Op] = []
        return inner, list(self._leaves(op, inner))

    def _leaves(self, op: Op, inner: list[Op]) -> Iterator[Value]:
        for value in op.operands:
            maker = self.makers.get(value)
            if maker is not None and self._is_sum(maker) and self.uses[value] == 1:
                inner.append(maker)
                yield from self._leaves(maker, inner)
            else:
                yield value

    def _is_sum(self, op: Op) -> bool:
        return op.kind == "add" and op.result.dtype in ("f32", "f64")

    def _is_part(self, op: Op) -> bool:
        return (
            self.uses[op.result] == 1
            and op.result in self.users
            and (self._is_sum(self.users[op.result]))
        )


def _chained(
    op: Op, products: list[Value], leaves: list[Value], makers: dict[Value, Op]
) -> list[Op]:
    """The products but the first, each after the other, and the sum with what is no product."""
    rest = [v for v in leaves if v not in products]
    ops = []
    total = products[0]
    for number, value in enumerate(products[1:], 1):
        last = number == len(products) - 1 and not rest
        result = op.result if last else value
        ops.append(
            replace(makers[value], operands=(*makers[value].operands, total), results=(result,))
        )
        total = result
    for number, value in enumerate(rest, 1):
        last = number == len(rest)
        result = op.result if last else replace(total, name=f"{total.name}a{number}")
        ops.append(replace(op, operands=(total, value), results=(result,)))
        total = result
    return ops
