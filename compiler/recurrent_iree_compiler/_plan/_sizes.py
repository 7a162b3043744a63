"""Text of functions on arrays with unknown sizes: what their sizes are, and IREE's own reshape."""

from __future__ import annotations

import math
from typing import Any

from recurrent_iree_compiler._mlir import ir


class Sizes:
    """Lines that find the unknown sizes of ``%x`` and its number of elements."""

    def __init__(self, kind: Any) -> None:
        tensor = ir.RankedTensorType(kind)
        self.lines = [f"%known = arith.constant {known(kind)} : index"]
        self.given: list[str] = []
        self.total = "%known"
        for axis in range(tensor.rank):
            if tensor.is_dynamic_dim(axis):
                self.lines += [
                    f"%axis{axis} = arith.constant {axis} : index",
                    f"%size{axis} = tensor.dim %x, %axis{axis} : {kind}",
                    f"%total{axis} = arith.muli {self.total}, %size{axis} : index",
                ]
                self.given.append(f"%size{axis}")
                self.total = f"%total{axis}"

    def reshape(
        self, name: str, source: Any, given: list[str], target: Any, wanted: list[str]
    ) -> str:
        """The text of the operation."""
        left = f"{{{', '.join(given)}}}" if given else ""
        right = f"{{{', '.join(wanted)}}}" if wanted else ""
        return f"flow.tensor.reshape {name} : {source}{left} -> {target}{right}"


def each_element(
    flat: Any, read: list[int], result: Any, sizes: list[str], body: list[str], value: str
) -> list[str]:
    """Lines that make ``%y``, whose unknown sizes are `sizes`, element by element.

    ``%a`` is the element of ``%flat`` at the axes `read` of the result; `body` makes `value` of it.
    """
    source, target = ir.RankedTensorType(flat), ir.RankedTensorType(result)
    places = ", ".join(f"d{n}" for n in range(target.rank))
    taken = ", ".join(f"d{n}" for n in read)
    loops = ", ".join(['"parallel"'] * target.rank)
    return [
        f"%room = tensor.empty({', '.join(sizes)}) : {target}",
        f"%y = linalg.generic {{indexing_maps = [affine_map<({places}) -> ({taken})>, "
        f"affine_map<({places}) -> ({places})>], iterator_types = [{loops}]}} "
        f"ins(%flat : {source}) outs(%room : {target}) {{",
        f"^bb0(%a: {source.element_type}, %b: {target.element_type}):",
        *body,
        f"linalg.yield {value} : {target.element_type}",
        f"}} -> {target}",
    ]


def known(kind: Any) -> int:
    """The product of the sizes that are known."""
    tensor = ir.RankedTensorType(kind)
    return math.prod(tensor.shape[a] for a in range(tensor.rank) if not tensor.is_dynamic_dim(a))


def function(symbol: str, takes: str, gives: str, lines: list[str]) -> str:
    """The text of a function whose `lines` compute ``%y``."""
    body = "\n  ".join([*lines, f"return %y : {gives}"])
    return f"func.func private @{symbol}({takes}) -> {gives} {{\n  {body}\n}}"
