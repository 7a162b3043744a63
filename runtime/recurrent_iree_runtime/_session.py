"""A stream: steps and chunks, with the state on the device between them."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._async import Turns
from ._chunks import run_chunks
from ._container import FilePath, write_atomic
from ._drivers._base import Buffer, Call
from ._dtypes import dtype_of
from ._errors import ArgumentError, DeviceLostError, SignatureError, StateError
from ._fits import Spec, fitting
from ._manifest import Function, Leaf
from ._process import leak
from ._runner import Runner, signature_of
from ._snapshot import read_snapshot, write_snapshot

if TYPE_CHECKING:
    from ._model import Model


_BUSY = (
    "this session is being used by another thread. A session belongs to one thread at a time; "
    "open one session per thread with model.session()"
)
_BROKEN = (
    "the state of this session was lost in a call that failed, because the device may have "
    "overwritten it; call reset(), or set_states() with states that you kept"
)


_LOST = (
    "the device of this session was lost, and its state with it; call reset(), or set_states() "
    "with states that you kept, and the device is opened anew"
)


class Session:
    """One stream of a model. Made by `model.session()`; used by one thread at a time.

    >>> def listen(model, frames):
    ...     with model.session(batch=1) as stream:
    ...         return [stream.step(frame) for frame in frames]
    """

    def __init__(self, model: "Model", function: Function) -> None:
        self._buffers: list[Buffer] | None = None
        self._model = model
        self._function = function
        self._streams = model.streams()
        self._chunk = self._streams.chunk
        self._flat, self._single = self._chunk.flat, self._chunk.plain_result
        self._busy = threading.Lock()
        self._adopting = False
        self._gone = ""
        self._broken = _BROKEN
        self._turns = Turns()
        self._step_leaves = [_without_time(leaf) for leaf in self._chunk.entry.inputs]
        self._bind(model.runner())
        self._buffers = self._streams.initial(self._runner, function)

    def _bind(self, runner: Runner) -> None:
        self._runner = runner
        self._step: Call | None = None
        self._step_specs: list[Spec] = []
        for function in self._chunk.entry.functions:
            sizes = {**function.dims, **self._function.dims, "time": 1}
            if function.dims == {name: sizes[name] for name in function.dims if name in sizes}:
                function = replace(function, dims=sizes)
                self._step = runner.call(self._chunk.entry, function, step=True)
                signature = signature_of(self._model.manifest, self._chunk.entry, function, True)
                self._step_specs = [(dtype_of(x.dtype), x.seen) for x in signature.inputs]
        self._fits = fitting(self._step_specs)

    @property
    def dims(self) -> dict[str, int]:
        """The sizes that this session was made for, such as `{"batch": 1}`."""
        return dict(self._function.dims)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Run one step: inputs and outputs without their axis of time.

        Raises `SignatureError` for inputs that do not fit; the state is then as before.
        """
        busy = self._busy
        if not busy.acquire(False):
            self._claim()
        try:
            buffers = self._buffers
            call = self._step
            if buffers is None or call is None:
                raise self._no_step()
            arrays: Sequence[Any] = args
            if kwargs or not self._flat or not self._fits(args):
                arrays = self._chunk.values(args, kwargs)
                if not self._fits(arrays):
                    arrays = self._step_arrays(arrays)
            self._buffers = None
            outputs, self._buffers = call(arrays, buffers)
            if self._gone:
                self._buffers = None
            return outputs[0] if self._single else self._chunk.result(outputs, arrays)
        except DeviceLostError:
            self._model.lost(self._runner)
            raise
        finally:
            busy.release()

    def _no_step(self) -> ArgumentError:
        self._alive()
        have = sorted({f.dims.get("time", 0) for f in self._chunk.entry.functions} - {0})
        return ArgumentError(
            f"step() needs a chunk of length 1, and {self._model.name!r} was compiled for "
            f"lengths {', '.join(map(str, have))}; use run(), or compile with chunks=(1, ...)"
        )

    def _step_arrays(self, values: Sequence[Any]) -> list[np.ndarray]:
        arrays = self._chunk.arrays(values, self._step_leaves)
        self._check_dims(self._chunk.dims(arrays, self._step_leaves))
        pairs = zip(arrays, self._step_specs, self._step_leaves, strict=True)
        for array, (_, shape), leaf in pairs:
            if array.shape != shape:
                raise SignatureError(f"{self._chunk.where(leaf)} has shape {list(array.shape)}; "
                                     f"a step takes {list(shape)}")  # fmt: skip
        return self._chunk.ready(arrays)

    def _check_dims(self, dims: Mapping[str, int]) -> None:
        for name, size in self._function.dims.items():
            if dims.get(name, size) != size:
                raise SignatureError(
                    f"the inputs have {name} {dims[name]}, and this session has {name} {size}; "
                    f"open another with model.session({name}={dims[name]})"
                )

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run a chunk of any length; the same result as that many steps, or as the whole."""
        self._claim()
        try:
            buffers, chunk = self._alive(), self._chunk
            leaves = chunk.entry.inputs
            arrays = chunk.arrays(chunk.values(args, kwargs), leaves)
            dims = chunk.dims(arrays, leaves)
            self._check_dims(dims)
            self._buffers = None
            dims = {**self._function.dims, **dims}
            try:
                outputs, self._buffers = run_chunks(
                    self._runner, chunk, chunk, arrays, dims, buffers
                )
            except SignatureError:
                self._buffers = buffers
                raise
            if self._gone:
                self._buffers = None
            return chunk.result(outputs, arrays)
        except DeviceLostError:
            self._model.lost(self._runner)
            raise
        finally:
            self._busy.release()

    def _claim(self) -> None:
        """Take the lock; wait for nobody but `adopt`, which is short."""
        if not self._busy.acquire(False):
            if self._adopting:
                self._busy.acquire()
            elif not self._busy.acquire(False):  # else it has just adopted
                raise StateError(_BUSY)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._claim()
        try:
            yield
        finally:
            self._busy.release()

    def _alive(self) -> list[Buffer]:
        if self._gone:
            raise StateError(self._gone)
        self._model.runner()
        if self._buffers is None:
            raise StateError(self._broken)
        return self._buffers

    @property
    def states(self) -> dict[str, np.ndarray]:
        """Copies of the states as host arrays, by name."""
        with self._exclusive():
            return self._streams.to_host(self._runner, self._function, self._alive())

    def set_states(self, states: Mapping[str, Any]) -> None:
        """Replace all states, after a check of names, shapes and dtypes."""
        with self._exclusive():
            self._rebind()
            self._buffers = self._streams.to_device(self._runner, self._function, states)

    def reset(self, rows: Any = None) -> None:
        """Go back to the initial states; also after a failed call or a lost device.

        `rows` are the rows of the batch to put back while the others go on: row numbers, or a mask
        with a boolean per row. Raises `StateError` if a state is shared by all rows.
        """
        with self._exclusive():
            if rows is not None:
                buffers = self._alive()
                self._buffers = self._streams.reset_rows(
                    self._runner, self._function, buffers, rows
                )
                return
            self._rebind()
            self._buffers = self._streams.initial(self._runner, self._function)

    def begin(self, states: Mapping[str, Any], keep: Sequence[str] = ()) -> None:
        """Go back to the initial states, except those given, and those of the slots to `keep`."""
        slots = [slot.name for slot in self._model.manifest.states]
        with self._exclusive():
            kept = self._alive() if keep else []
            if keep and set(keep) == set(slots):
                return
            self._rebind()
            start = self._streams.initial(self._runner, self._function)
            if states:
                whole = self._streams.to_host(self._runner, self._function, start)
                whole.update(states)
                start = self._streams.to_device(self._runner, self._function, whole)
            pairs = zip(slots, kept or start, start, strict=True)
            self._buffers = [old if name in keep else new for name, old, new in pairs]

    def snapshot(self, path: FilePath | None = None) -> bytes:
        """The states as bytes for `restore`, here or in another process or on another device.

        With `path` they are also written there, whole or not at all: a write that fails raises
        `StorageError` and leaves the file that was there.
        """
        data = write_snapshot(self._model.manifest, self._function, self.states)
        if path is not None:
            write_atomic(path, iter([data]))
        return data

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot of a session of the same program and sizes.

        Raises `NotAnArtifactError`, `VersionError` or `IntegrityError` for bytes that are not a
        whole snapshot, and `StateError` for one of another program; the state is then as before.
        """
        dims, states = read_snapshot(snapshot, self._model.manifest)
        if dims != self._function.dims:
            sizes = ", ".join(f"{name}={size}" for name, size in dims.items())
            raise StateError(f"the snapshot is of a session with {sizes}, and this one has "
                             f"{self.dims}; use model.restore(), which opens one")  # fmt: skip
        self.set_states(states)

    async def astep(self, *args: Any, **kwargs: Any) -> Any:
        """`step` for asyncio: other tasks go on meanwhile.

        One task at a time may wait for a session. If it is cancelled, the step has been done as a
        whole or not at all, and the next `astep` waits until that is decided.
        """
        return await self._turns.run(self._model.executor(), self.step, args, kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """`run` for asyncio; see `astep`."""
        return await self._turns.run(self._model.executor(), self.run, args, kwargs)

    def _rebind(self) -> None:
        if self._gone:
            raise StateError(self._gone)
        runner = self._model.runner()
        if runner is not self._runner:
            self._bind(runner)

    def clone(self) -> "Session":
        """Another session with a copy of the states."""
        states = self.states
        other = self._model.session(**self._function.dims)
        other.set_states(states)
        return other

    def adopt(self, old: Runner, new: Runner) -> None:
        """Go on with other weights and the same states, after a call that runs now."""
        self._adopting = True
        with self._busy:
            if self._runner is old:
                self._bind(new)
        self._adopting = False

    def lose(self, runner: Runner) -> None:
        """Drop states that were on a device which was lost."""
        if self._runner.home is runner.home:
            self._buffers, self._broken = None, _LOST

    def close(self) -> None:
        """Free the states; a closed session raises `StateError`."""
        self._gone = self._gone or "this session was closed; open another with model.session()"
        self._buffers = None

    def abandon(self, why: str) -> None:
        """Make every further use raise `StateError` with this reason; nothing is freed."""
        self._gone, self._busy = why, threading.Lock()
        leak(self._buffers)
        self._buffers = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self._function.dims.items())
        return f"<Session of {self._model.name!r}: {sizes or 'one size'}>"


def _without_time(leaf: Leaf) -> Leaf:
    shape = tuple(size for size in leaf.shape if size != "time")
    return Leaf(leaf.name, shape, leaf.dtype, leaf.from_input)
