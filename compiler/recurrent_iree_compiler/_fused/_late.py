"""Operations that move to where they are needed first, so that few values are alive at once.

A loop over weights that loads all its operands before it uses the first of them needs a register
for each, and more than a processor has go through the stack. LLVM does not always find an order
without that; if it is given one, it keeps to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAME = re.compile(r"%\w+")
_MAKES = re.compile(r"\s*(%\w+) = ")


def define_late(lines: list[str], start: int, results: Sequence[str]) -> None:
    """Reorder ``lines[start:]`` in place: what `results` need, one after the other, then the rest.

    Lines that belong to a region stay as they are.

    Example:
        >>> lines = ["%a = load", "%b = load", "%c = neg %a", "%d = neg %b"]
        >>> define_late(lines, 0, ["%d", "%c"])
        >>> lines
        ['%b = load', '%d = neg %b', '%a = load', '%c = neg %a']
    """
    moved = lines[start:]
    if any("{" in line or "}" in line for line in moved):
        return
    makers = {m[1]: line for line in moved if (m := _MAKES.match(line))}
    placed: dict[str, None] = {}

    def place(line: str) -> None:
        if line not in placed:
            for name in _NAME.findall(line.partition("=")[2]):
                if name in makers:
                    place(makers[name])
            placed[line] = None

    for name in results:
        if name in makers:
            place(makers[name])
    rest = [line for line in moved if line not in placed]
    lines[start:] = [*placed, *rest]
