"""Naming the axes of results: which axis is a dim of the specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recurrent_iree_runtime import UnsupportedError

Case = tuple[Mapping[str, int], Sequence[tuple[int, ...]]]


def name_axes(
    cases: Sequence[Case], what: str, probes: Sequence[Case] = ()
) -> list[tuple[int | str, ...]]:
    """The shape of each array with the dims that it varies with by name.

    Args:
        cases: for several sizes of the dims, the shapes of the arrays.
        what: what the arrays are, for messages.
        probes: the same for sizes that are not compiled, each with one other size than the first
            case: they name an axis that only has one size, and refuse nothing.

    Raises:
        UnsupportedError: a size depends on a dim but is not that dim, or a rank varies.
    """
    _, first = cases[0]
    return [
        tuple(_name_axis(cases, index, axis, what, probes) for axis in range(len(shape)))
        for index, shape in enumerate(first)
    ]


def _name_axis(
    cases: Sequence[Case], index: int, axis: int, what: str, probes: Sequence[Case]
) -> int | str:
    if len({len(shapes[index]) for _, shapes in cases}) != 1:
        raise UnsupportedError(f"compile: the rank of {what} {index} depends on the sizes of dims")
    seen = [(sizes, shapes[index][axis]) for sizes, shapes in cases]
    values = {value for _, value in seen}
    if len(values) == 1:
        return _probed(cases[0], index, axis, probes) or values.pop()
    for name in seen[0][0]:
        if all(sizes[name] == value for sizes, value in seen):
            return name
    raise UnsupportedError(
        f"compile: axis {axis} of {what} {index} has the sizes {sorted(values)} for the dims "
        f"{[dict(sizes) for sizes, _ in seen]}; a size of a result must be a dim of the inputs "
        "or constant. Return arrays whose sizes are dims, or fix the size in the spec"
    )


def _probed(first: Case, index: int, axis: int, probes: Sequence[Case]) -> str | None:
    sizes, shapes = first
    for other, varied in probes:
        name = next(name for name in sizes if other[name] != sizes[name])
        rank = len(varied) == len(shapes) and len(varied[index]) == len(shapes[index])
        if rank and (shapes[index][axis], varied[index][axis]) == (sizes[name], other[name]):
            return name
    return None
