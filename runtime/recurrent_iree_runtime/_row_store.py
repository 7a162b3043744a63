"""The states of many streams, one row each, and calls for some of the rows.

Rows wait in host memory. The rows of the last call stay on the device, and the next call for the
same rows goes on from there, so that a steady set of streams copies no states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._coerce import coerce, ready
from ._drivers._base import Buffer
from ._dtypes import dtype_of
from ._errors import ArgumentError, StateError
from ._manifest import Function, Leaf, Manifest
from ._rows import BATCH, batch_axes
from ._runner import Runner, state_specs
from ._streams import Streams

_LOST = (
    "the state of this stream was lost in a call that failed, because the device may have "
    "overwritten it; call reset()"
)


class RowStore:
    """States of `capacity` streams of a program; used by one thread at a time."""

    def __init__(self, streams: Streams, runner: Runner, capacity: int) -> None:
        manifest = streams.manifest
        self.runner = runner
        self._streams = streams
        self.entry = streams.chunk.entry
        self.sizes = _step_functions(manifest, streams, capacity)
        self._slots = manifest.states
        self._axes = batch_axes(self._slots, "a batcher")
        self.input_axes = _edge_axes(self.entry.inputs, "input")
        computed = [leaf for leaf in self.entry.outputs if leaf.from_input is None]
        self.output_axes = _edge_axes(computed, "output")
        function = self.sizes[min(self.sizes)]
        self.init = streams.init_function({n: function.dims[n] for n in _state_dims(manifest)})
        host = streams.to_host(runner, self.init, streams.initial(runner, self.init))
        self._start = [
            np.moveaxis(host[slot.name], axis, 0)[0].copy()
            for slot, axis in zip(self._slots, self._axes, strict=True)
        ]
        self._rows = [np.zeros((capacity, *row.shape), row.dtype) for row in self._start]
        self._resident: tuple[list[int], Function, list[Buffer]] | None = None
        self._movers: dict[int, Any] = {}
        # Reused, because fresh pages cost more than the copies do.
        self._room: dict[int, list[np.ndarray]] = {}
        self._input_room: dict[tuple[int, int], np.ndarray] = {}
        self._lost: set[int] = set()
        self.use(runner)

    def use(self, runner: Runner) -> None:
        """Go on with another runner; what a lost device had is lost."""
        if self.runner.home is not runner.home:
            self.forget()
        if self.runner is not runner or not self._movers:
            self.runner = runner
            specs = {n: state_specs(self._streams.manifest, f) for n, f in self.sizes.items()}
            self._movers = {s: runner.stream.bind_states(x) for s, x in specs.items()}

    @property
    def largest(self) -> int:
        """How many rows one call can take."""
        return max(self.sizes)

    def begin(self, row: int) -> None:
        """Put a row at the start."""
        self._fetch(row)
        for rows, start in zip(self._rows, self._start, strict=True):
            rows[row] = start
        self._lost.discard(row)

    def check(self, rows: Sequence[int]) -> None:
        """Raise `StateError` if the states of a row were lost."""
        if self._lost and not self._lost.isdisjoint(rows):
            raise StateError(_LOST)

    def read(self, row: int) -> dict[str, np.ndarray]:
        """Copies of the states of a row by name."""
        self.check([row])
        self._fetch(row)
        return {s.name: r[row].copy() for s, r in zip(self._slots, self._rows, strict=True)}

    def write(self, row: int, states: Mapping[str, Any]) -> None:
        """Replace the states of a row, after a check of names, shapes and dtypes."""
        arrays = self._checked(states)
        self._fetch(row)
        for rows, array in zip(self._rows, arrays, strict=True):
            rows[row] = array
        self._lost.discard(row)

    def _checked(self, states: Mapping[str, Any]) -> list[np.ndarray]:
        names = [slot.name for slot in self._slots]
        if not isinstance(states, Mapping) or set(states) != set(names):
            raise StateError(f"states of a stream are a dict with {', '.join(names)}")
        arrays = []
        for name, start in zip(names, self._start, strict=True):
            leaf = Leaf(name, start.shape, self._streams.manifest.states[names.index(name)].dtype)
            array = coerce(states[name], leaf, f"the state {name!r}")
            if array.shape != start.shape:
                raise StateError(f"the state {name!r} of a stream has shape {list(array.shape)}; "
                                 f"expected {list(start.shape)}, without the batch")  # fmt: skip
            arrays.append(ready(array, leaf))
        return arrays

    def step(self, rows: Sequence[int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One step for some rows; inputs and outputs have them along their dim `batch`.

        If it fails, rows that were in host memory are as before; those on the device are lost.
        """
        count = len(rows)
        size = min((n for n in self.sizes if n >= count), default=self.largest)
        function, numbers = self.sizes[size], list(rows)
        resident = self._resident
        kept = resident is not None and resident[0] == numbers and resident[1] is function
        if kept and resident is not None:
            buffers, self._resident = resident[2], None
            self._lost.update(numbers)
        else:
            self._park()
            buffers = self._gather(numbers, size, function)
        pairs = zip(arrays, self.input_axes, strict=True)
        given = [self._padded(i, array, axis, size) for i, (array, axis) in enumerate(pairs)]
        call = self.runner.call(self.entry, function, step=True)
        outputs, states = call(given, buffers)
        if kept:
            self._lost.difference_update(numbers)
        self._resident = (numbers, function, states)
        if count == size:
            return outputs
        return [_head(o, axis, count) for o, axis in zip(outputs, self.output_axes, strict=True)]

    def forget(self) -> None:
        """Drop what was on a device that was lost."""
        if self._resident is not None:
            self._lost.update(self._resident[0])
            self._resident = None

    def _fetch(self, row: int) -> None:
        """Bring the rows of the last call to the host, if this is one of them."""
        if self._resident is not None and row in self._resident[0]:
            self._park()

    def _park(self) -> None:
        """Bring the rows of the last call to the host."""
        resident, self._resident = self._resident, None
        if resident is None:
            return
        numbers, function, buffers = resident
        self._lost.update(numbers)
        arrays = self._movers[function.dims[BATCH]][1](buffers)
        for rows, array, axis in zip(self._rows, arrays, self._axes, strict=True):
            rows[numbers] = (array if axis == 0 else np.moveaxis(array, axis, 0))[: len(numbers)]
        self._lost.difference_update(numbers)

    def _gather(self, numbers: list[int], size: int, function: Function) -> list[Buffer]:
        count, arrays = len(numbers), []
        room = self._room.get(size)
        if room is None:
            room = [np.empty((size, *start.shape), start.dtype) for start in self._start]
            self._room[size] = room
        for batch, rows, start, axis in zip(room, self._rows, self._start, self._axes, strict=True):
            np.take(rows, numbers, axis=0, out=batch[:count], mode="clip")
            batch[count:] = start
            arrays.append(batch if axis == 0 else np.moveaxis(batch, 0, axis))
        return self._movers[function.dims[BATCH]][0](arrays)

    def _padded(self, number: int, array: np.ndarray, axis: int, size: int) -> np.ndarray:
        """An input with as many rows as the function takes."""
        count = array.shape[axis]
        if count == size:
            return np.ascontiguousarray(array)
        room = self._input_room.get((number, size))
        if room is None:
            shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
            room = self._input_room[number, size] = np.zeros(shape, array.dtype)
        before = (slice(None),) * axis
        room[(*before, slice(0, count))] = array
        room[(*before, slice(count, None))] = 0
        return room


def _state_dims(manifest: Manifest) -> set[str]:
    init = manifest.entry("init")
    return {name for function in init.functions for name in function.dims} if init else set()


def _step_functions(manifest: Manifest, streams: Streams, capacity: int) -> dict[int, Function]:
    """The functions of one step by batch size; a few sizes of one that takes any."""
    found: dict[int, Function] = {}
    functions = list(streams.chunk.entry.functions)
    if BATCH in streams.any_sizes:
        functions = [replace(f, dims={**f.dims, BATCH: n})
                     for f in functions for n in _some_sizes(capacity)]  # fmt: skip
    for function in functions:
        if BATCH not in function.dims or function.dims.get("time") != 1:
            continue
        if found.setdefault(function.dims[BATCH], function) is not function:
            raise ArgumentError(
                f"a batcher of {manifest.name!r} needs one size of each dim but batch; it was "
                f"compiled for {function.dims} and {found[function.dims[BATCH]].dims}"
            )
    if not found:
        raise StateError(
            f"{manifest.name!r} has no step over a batch; compile it with specs that name the dim, "
            'with the sizes to stack streams into, for example "batch=1|8|32", and a chunk of 1'
        )
    return found


def _some_sizes(capacity: int) -> list[int]:
    """1, 2, 4, then in steps of four, and from 32 on doubled, up to `capacity`."""
    sizes = [1, 2, *range(4, 32, 4)]
    while len(sizes) < 40:
        sizes.append(32 << (len(sizes) - 9))
    return [*[n for n in sizes if n < capacity], capacity]


def _edge_axes(leaves: Sequence[Leaf], what: str) -> list[int]:
    """The axis of rows of each leaf, the axis of time left out."""
    for leaf in leaves:
        if BATCH not in leaf.shape:
            raise StateError(
                f"a batcher stacks the steps of many streams, and the {what} {leaf.name!r} has no "
                f"dim 'batch' (shape {list(leaf.shape)})"
            )
    return [[n for n in leaf.shape if n != "time"].index(BATCH) for leaf in leaves]


def _head(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    return array[(slice(None),) * axis + (slice(0, count),)]


def row_specs(store: RowStore) -> list[tuple[np.dtype, tuple[int, ...], Leaf]]:
    """For each input: dtype, shape of the row of one stream, and the leaf of that row."""
    function, specs = store.sizes[store.largest], []
    for leaf in store.entry.inputs:
        names = [n for n in leaf.shape if n not in ("time", BATCH)]
        shape = tuple(n if isinstance(n, int) else function.dims[n] for n in names)
        specs.append((dtype_of(leaf.dtype), shape, Leaf(leaf.name, shape, leaf.dtype)))
    return specs
