"""Calls of any length, made of compiled chunks; the states stay on the device between them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ._coerce import ready
from ._drivers._base import Buffer
from ._entry_plan import EntryPlan
from ._errors import SignatureError
from ._manifest import Function, Leaf
from ._runner import Runner

LONGEST = 1 << 27  # steps of one call, whose chunks are listed before the first one runs


def chunk_functions(plan: EntryPlan, chunk: EntryPlan, dims: Mapping[str, int]) -> list[Function]:
    """The functions of `chunk` for these sizes, longest first, whatever their length.

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
    return sorted(fitting, key=lambda f: -f.dims["time"])


def split(length: int, functions: Sequence[Function], name: str) -> Iterator[Function]:
    """The functions to call, one after the other, for `length` steps; longest first."""
    left = length
    for function in functions:
        size = function.dims["time"]
        while size and left >= size:
            yield function
            left -= size
    if left:
        sizes = ", ".join(str(f.dims["time"]) for f in functions)
        raise SignatureError(
            f"{name!r} was called with time {length}, which the compiled chunk lengths {sizes} do "
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
    if not 0 < length <= LONGEST:
        timed = " and ".join(repr(x.name) for x in plan.entry.inputs if "time" in x.shape)
        raise SignatureError(
            f"{plan.name!r} was called with time {length}; expected at least 1 step in {timed}, "
            f"and at most {LONGEST} in one call: give longer sequences to session.run in parts"
        )
    leaves, results, start = plan.entry.inputs, [], 0
    for function in list(split(length, chunk_functions(plan, chunk, dims), plan.name)):
        stop = start + function.dims["time"]
        parts = [_part(a, leaf, start, stop) for a, leaf in zip(arrays, leaves, strict=True)]
        outputs, states = runner.call(chunk.entry, function, group=group)(parts, states)
        results.append(outputs)
        start = stop
    return _join(results, plan.computed), states


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
