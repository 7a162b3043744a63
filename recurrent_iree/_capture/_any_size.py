"""The trace of a program for dims of any size, with loops or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax import export

from recurrent_iree._spec import TIME
from recurrent_iree_runtime import UnsupportedError

from ._generalize import NotGeneral, any_size
from ._lower import init_piece
from ._program import Program, Trace
from ._streaming import Streaming, find_streaming, quick_jit

MOST_DIMS = 2
_ROWS = (3, 5)


def stream_of_any_rows(program: Program) -> Streaming:
    """Whether a program with a dim of any size can be streamed, and by which loops.

    The states at the start are compiled for one row, and the runtime repeats them.
    """
    name, *others = program.any_dims
    sizes = {**next(iter(program.sizes(time=3))), **dict.fromkeys(program.any_dims, 3)}
    if others or not program.trace(sizes).has_loops:
        return Streaming((), f"the dim {name!r} may have any size")
    found = find_streaming(program)
    if found.reason:
        return found
    single, *more = [_start(program, found, {**sizes, name: n}) for n in (1, *_ROWS)]
    for number, start in enumerate(single):
        for rows, other in zip(_ROWS, more, strict=True):
            if not _repeats(start, other[number], rows):
                reason = f"state {number} starts with other values in other rows of {name!r}"
                return Streaming((), reason)
    try:
        any_size(program, {**sizes, TIME: 1}, [name])
    except NotGeneral as why:
        return Streaming((), f"a step is another one for other sizes of {name!r}: {why}")
    return found


def _start(program: Program, streaming: Streaming, sizes: Mapping[str, int]) -> list[np.ndarray]:
    """The states at the start of a stream."""
    rest = {key: size for key, size in sizes.items() if key != TIME}
    piece = init_piece(program, streaming, rest)
    run = quick_jit(lambda weights: piece.compute(weights, [], [], False)[1])
    return [np.asarray(state) for state in run(program.weights)]


def _repeats(single: np.ndarray, many: np.ndarray, rows: int) -> bool:
    """Whether `many` is `single` for each row, or has no rows."""
    if single.shape == many.shape:
        return single.tobytes() == many.tobytes()
    axes = [a for a, n in enumerate(many.shape) if (single.shape[a], n) == (1, rows)]
    return len(axes) == 1 and np.repeat(single, rows, axes[0]).tobytes() == many.tobytes()


def trace_any_size(
    program: Program, sizes: Mapping[str, int], names: Sequence[str]
) -> tuple[Trace, dict[str, Any]]:
    """The trace of `program` in which the dims `names` are symbols, and all sizes with them.

    Raises:
        UnsupportedError: a program with a loop does something else for other sizes.
    """
    probe = {**sizes, **dict.fromkeys(names, 3)}
    if not program.trace(probe).has_loops:
        symbols = export.symbolic_shape(", ".join(names))
        given = {**sizes, **dict(zip(names, symbols, strict=True))}
        return program.trace(given), given
    if len(names) > MOST_DIMS:
        raise _unsupported(names, f"a program with a loop may have {MOST_DIMS} dims of any size")
    try:
        return any_size(program, sizes, names)
    except NotGeneral as why:
        raise _unsupported(names, f"the program is another one for other sizes: {why}") from why


def _unsupported(names: Sequence[str], reason: str) -> UnsupportedError:
    dims = ", ".join(f'"{name}=?"' for name in names)
    return UnsupportedError(
        f"compile: {dims} in a program with a loop: {reason}. Name the sizes, for example "
        f'"{names[0]}=1|8"'
    )
