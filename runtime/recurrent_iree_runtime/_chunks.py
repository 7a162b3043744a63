"""Calls of any length, made of compiled chunks; the states stay on the device between them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ._coerce import ready
from ._drivers._base import Buffer
from ._dtypes import dtype_of
from ._entry_plan import EntryPlan
from ._errors import SignatureError
from ._manifest import Function, Leaf
from ._runner import Runner

LONGEST = 1 << 27  # steps of one call, whose chunks are listed before the first one runs


def chunk_functions(plan: EntryPlan, chunk: EntryPlan, dims: Mapping[str, int]) -> list[Function]:
    """The functions of `chunk` for these sizes: one of any length first, then from long to short.

    Raises `SignatureError` in the name of `plan`, the entry that was called.
    """
    rest = {name: size for name, size in dims.items() if name != "time"}
    fitting = [
        function
        for function in chunk.entry.functions
        if all(rest.get(n, size) == size for n, size in function.dims.items() if n != "time")
    ]
    if not fitting:
        raise SignatureError(plan.no_function(rest, chunk.entry.functions))
    return sorted(fitting, key=lambda f: -f.dims.get("time", LONGEST + 1))


def split(length: int, functions: Sequence[Function], name: str) -> Iterator[tuple[Function, int]]:
    """The functions to call for `length` steps, each with its steps; longest first."""
    sizes = [function.dims.get("time", length) for function in functions]
    exact = [function for function in functions if function.dims.get("time") == length]
    if exact or length in sizes:
        yield (exact or list(functions))[0], length
        return
    left = length
    for function, size in zip(functions, sizes, strict=True):
        while size and left >= size:
            yield function, size
            left -= size
    if left:
        listed = ", ".join(map(str, sizes))
        raise SignatureError(
            f"{name!r} was called with time {length}, which the compiled chunk lengths {listed} do "
            "not add up to; pass another length, or compile with a chunk of length 1"
        )


def _part(array: np.ndarray, leaf: Leaf, start: int, stop: int) -> np.ndarray:
    if "time" in leaf.shape:
        axis = leaf.shape.index("time")
        array = array[(slice(None),) * axis + (slice(start, stop),)]
    return ready(array, leaf)


def run_chunks(
    runner: Runner,
    plan: EntryPlan,
    chunk: EntryPlan,
    arrays: Sequence[np.ndarray],
    dims: Mapping[str, int],
    states: list[Buffer],
    group: str = "stream",
) -> tuple[list[np.ndarray], list[Buffer]]:
    """Computed output leaves of all chunks joined along time, and the last states.

    `plan` is the entry that the user called, `chunk` the one that has the functions.
    """
    length = dims.get("time", 1)
    functions = chunk_functions(plan, chunk, dims)
    if length == 0 and all("time" in leaf.shape for leaf in plan.computed):
        return _nothing({**functions[0].dims, **dims}, plan.computed), states
    if not 0 < length <= LONGEST:
        timed = " and ".join(repr(x.name) for x in plan.entry.inputs if "time" in x.shape)
        raise SignatureError(
            f"{plan.name!r} was called with time {length}; expected at least 1 step in {timed} (0 "
            "only where all outputs have an axis of time), "
            f"and at most {LONGEST} in one call: give longer sequences to session.run in parts"
        )
    leaves, results, start = plan.entry.inputs, [], 0
    for function, steps in list(split(length, functions, plan.name)):
        stop = start + steps
        parts = [_part(a, leaf, start, stop) for a, leaf in zip(arrays, leaves, strict=True)]
        outputs, states = runner.call(chunk.entry, function, group=group)(parts, states)
        results.append(outputs)
        start = stop
    return _join(results, plan.computed), states


def _nothing(dims: Mapping[str, int], leaves: Sequence[Leaf]) -> list[np.ndarray]:
    """The outputs of no steps."""
    shapes = [tuple(n if isinstance(n, int) else dims[n] for n in leaf.shape) for leaf in leaves]
    return [
        np.zeros(shape, dtype_of(leaf.dtype)) for shape, leaf in zip(shapes, leaves, strict=True)
    ]


def _join(results: list[list[np.ndarray]], leaves: Sequence[Leaf]) -> list[np.ndarray]:
    if len(results) == 1:
        return results[0]
    joined = []
    for i, leaf in enumerate(leaves):
        if "time" in leaf.shape:
            parts = [outputs[i] for outputs in results]
            joined.append(np.concatenate(parts, axis=leaf.shape.index("time")))
        else:
            joined.append(results[-1][i])
    return joined
