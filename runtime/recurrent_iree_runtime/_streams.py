"""States of a model between device and host, for sessions and for explicit states."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ._coerce import coerce, ready, shape_text
from ._drivers._base import Buffer
from ._entry_plan import EntryPlan
from ._errors import ArgumentError, SignatureError, StateError
from ._manifest import Function, Leaf, Manifest
from ._rows import BATCH, batch_axes, replace_rows, row_numbers
from ._runner import Runner, state_specs
from ._snapshot import sized


class Streams:
    """What a model that can be streamed knows about its states."""

    def __init__(self, manifest: Manifest, chunk: EntryPlan, init: EntryPlan) -> None:
        self.manifest = manifest
        self.chunk = chunk
        self.init = init

    def init_function(self, sizes: Mapping[str, int | None]) -> Function:
        """The `init` function for the given sizes; an unnamed size must have one choice only.

        Raises `ArgumentError` for a size that was not compiled.
        """
        asked = {name: size for name, size in sizes.items() if size is not None}
        functions = self.init.entry.functions
        known = {name for function in functions for name in function.dims}
        for name in asked:
            if name not in known:
                listed = ", ".join(sorted(known)) or "no sizes"
                if name == "batch":
                    raise ArgumentError(f"batch={asked[name]}: this program has no dim 'batch'; "
                                        f"its states depend on {listed}")  # fmt: skip
                raise ArgumentError(f"{name}= is unknown; a session takes {listed}")
        free = self.any_sizes
        chosen = [replace(f, dims={**f.dims, **{n: asked[n] for n in free & set(asked)}})
                  for f in functions]  # fmt: skip
        fitting = [f for f in chosen if all(f.dims.get(n) == s for n, s in asked.items())]
        have = " or ".join(", ".join(f"{n}={'?' if n in free else s}"
                                     for n, s in sorted(f.dims.items())) or "no sizes"
                           for f in functions)  # fmt: skip
        for name in sorted(free & set(asked)):
            size: Any = asked[name]
            if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 0:
                raise ArgumentError(f"{name}={size!r}; expected a number of rows, such as {name}=8")
        if free - set(asked):
            raise ArgumentError(f"a session needs its size: {have}")
        if not fitting:
            given = ", ".join(f"{n}={s}" for n, s in asked.items())
            raise ArgumentError(f"a session with {given} was not compiled; it can be {have}")
        if len(fitting) > 1:
            raise ArgumentError(f"a session needs its size: {have}")
        return fitting[0]

    @property
    def any_sizes(self) -> set[str]:
        """The dims of the states that may have any size; `init` is compiled for one row of them."""
        anything = {dim.name for dim in self.manifest.dims if dim.sizes is None}
        return anything & {name for function in self.init.entry.functions for name in function.dims}

    def initial(self, runner: Runner, function: Function, group: str = "stream") -> list[Buffer]:
        """New initial states on the device."""
        compiled = next(f for f in self.init.entry.functions if f.symbol == function.symbol)
        states = runner.call(self.init.entry, compiled, group=group)((), ())[1]
        if compiled.dims == function.dims:
            return states
        arrays = runner.stream.to_host(states, state_specs(self.manifest, compiled))
        many = [_repeated(array, slot, function.dims, self.any_sizes)
                for array, slot in zip(arrays, self.manifest.states, strict=True)]  # fmt: skip
        return runner.stream.to_device(many, state_specs(self.manifest, function))

    def init_for(self, dims: Mapping[str, int]) -> Function:
        """The `init` function for the sizes of a call."""
        known = {name for function in self.init.entry.functions for name in function.dims}
        sizes = {name: size for name, size in dims.items() if name in known}
        return self.init_function(sizes) if self.any_sizes else self.init.function(sizes)

    def to_host(
        self, runner: Runner, function: Function, buffers: list[Buffer]
    ) -> dict[str, np.ndarray]:
        """Copies of states by name."""
        arrays = runner.stream.to_host(buffers, state_specs(self.manifest, function))
        return {s.name: a for s, a in zip(self.manifest.states, arrays, strict=True)}

    def reset_rows(
        self, runner: Runner, function: Function, buffers: list[Buffer], rows: Any
    ) -> list[Buffer]:
        """States whose rows are back at the start; `rows` as `row_numbers` takes them."""
        axes = batch_axes(self.manifest.states, "reset(rows=...)")
        numbers = row_numbers(rows, function.dims[BATCH])
        states = self.to_host(runner, function, buffers)
        start = self.to_host(runner, function, self.initial(runner, function))
        replace_rows(states, start, axes, numbers)
        return self.to_device(runner, function, states)

    def to_device(
        self, runner: Runner, function: Function, given: Mapping[str, Any]
    ) -> list[Buffer]:
        """Checked states of the user on the device; raises `StateError` or `SignatureError`."""
        wanted = {slot.name: sized(slot, function.dims) for slot in self.manifest.states}
        if not isinstance(given, Mapping):
            raise StateError(f"states are given as a {type(given).__name__}; expected a dict with "
                             f"{', '.join(wanted)}")  # fmt: skip
        for name in [*given, *wanted]:
            if name not in wanted or name not in given:
                problem = "is unknown" if name not in wanted else "is missing"
                raise StateError(f"the state {name!r} {problem}; expected {', '.join(wanted)}")
        arrays = []
        for name, leaf in wanted.items():
            array = coerce(given[name], leaf, f"the state {name!r}")
            if array.shape != leaf.shape:
                raise SignatureError(f"the state {name!r} has shape {list(array.shape)}; expected "
                                     f"{shape_text(leaf.shape)}")  # fmt: skip
            arrays.append(ready(array, leaf))
        return runner.stream.to_device(arrays, state_specs(self.manifest, function))


def _repeated(
    array: np.ndarray, slot: Leaf, sizes: Mapping[str, int], names: set[str]
) -> np.ndarray:
    """The state of one row for as many rows as `sizes` says."""
    for axis, name in enumerate(slot.shape):
        if name in names:
            array = np.repeat(array, sizes[str(name)], axis)
    return array
