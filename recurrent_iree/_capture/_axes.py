"""Naming the axes of results: which axis is a dim of the specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recurrent_iree_runtime import UnsupportedError

Case = tuple[Mapping[str, int], Sequence[tuple[int, ...]]]


def name_axes(cases: Sequence[Case], what: str) -> list[tuple[int | str, ...]]:
    """The shape of each array with the dims that it varies with by name.

    Args:
        cases: for several sizes of the dims, the shapes of the arrays.
        what: what the arrays are, for messages.

    Raises:
        UnsupportedError: a size depends on a dim but is not that dim, or a rank varies.
    """
    _, first = cases[0]
    return [
        tuple(_name_axis(cases, index, axis, what) for axis in range(len(shape)))
        for index, shape in enumerate(first)
    ]


def _name_axis(cases: Sequence[Case], index: int, axis: int, what: str) -> int | str:
    if len({len(shapes[index]) for _, shapes in cases}) != 1:
        raise UnsupportedError(f"compile: the rank of {what} {index} depends on the sizes of dims")
    seen = [(sizes, shapes[index][axis]) for sizes, shapes in cases]
    values = {value for _, value in seen}
    if len(values) == 1:
        return values.pop()
    for name in seen[0][0]:
        if all(sizes[name] == value for sizes, value in seen):
            return name
    raise UnsupportedError(
        f"compile: axis {axis} of {what} {index} has the sizes {sorted(values)} for the dims "
        f"{[dict(sizes) for sizes, _ in seen]}; a size of a result must be a dim of the inputs "
        "or constant. Return arrays whose sizes are dims, or fix the size in the spec"
    )
