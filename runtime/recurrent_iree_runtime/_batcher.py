"""Many streams of one model, whose steps run together in few calls."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import (
    ArgumentError,
    ArgumentTypeError,
    DeviceLostError,
    SignatureError,
    StateError,
)
from ._process import leak
from ._request import Request, deliver
from ._row_store import RowStore, row_specs
from ._runner import Runner
from ._stream import Stream

if TYPE_CHECKING:
    from ._model import Model

_LIMIT = 1 << 20
_NOBODY = 1 << 62  # more steps than ever wait: nobody waits for them


class Batcher:
    """Stacks the steps of streams that are ready into one call. Made by `model.batcher()`.

    Usable from many threads and tasks at once. Steps are served in the order in which they came,
    and a stream has at most one step under way, so that none can push another aside. The call
    runs on the thread of one of the streams in it; there are no threads of its own.

    >>> def serve(model, frames_of):
    ...     with model.batcher(max_streams=64) as batcher:
    ...         with batcher.stream() as stream:
    ...             return [stream.step(frame) for frame in frames_of]
    """

    def __init__(self, model: "Model", max_streams: int, max_wait: float) -> None:
        if isinstance(max_streams, bool) or not isinstance(max_streams, int):
            raise ArgumentTypeError(f"max_streams is {max_streams!r}; expected an integer")
        if not 1 <= max_streams <= _LIMIT:
            raise ArgumentError(f"max_streams is {max_streams}; expected 1 to {_LIMIT}")
        if not 0 <= max_wait <= 60:
            raise ArgumentError(f"max_wait is {max_wait}; expected 0 to 60 seconds")
        self.max_streams, self.max_wait = max_streams, max_wait
        self.model = model
        self._store = RowStore(model.streams(), model.runner(), max_streams)
        self.specs = row_specs(self._store)
        self._free = list(range(max_streams - 1, -1, -1))
        self._open: dict[int, Stream] = {}
        self._queue: deque[Request] = deque()
        self._arrived = threading.Condition()
        self._device = threading.Lock()
        self._driven = False
        self._wanted = _NOBODY
        self._gone = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many streams a call can take, smallest first: the batch sizes that were compiled."""
        return tuple(sorted(self._store.sizes))

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def stream(self) -> Stream:
        """Open a stream at the initial states; raises `StateError` if `max_streams` are open."""
        with self._alone():
            self._ready()
            if not self._free:
                raise StateError(
                    f"all {self.max_streams} streams of this batcher are open; close one, or make "
                    "the batcher with a larger max_streams"
                )
            row = self._free.pop()
            self._store.begin(row)
            stream = self._open[row] = Stream(self, row)
        return stream

    def step(self, streams: Sequence[Stream], /, *args: Any, **kwargs: Any) -> Any:
        """One step of several streams at once, from one thread.

        Inputs and outputs have a row for each of `streams`, in their order, where the program has
        its batch. Raises `SignatureError` for inputs that do not fit, and `StateError` for a
        stream that is closed, given twice, or in another step; no state is changed then.
        """
        chunk = self.model.streams().chunk
        arrays = self._stacked(chunk.values(args, kwargs), len(streams))
        taken: list[Stream] = []
        try:
            for stream in streams:
                if stream.batcher is not self or stream.closed or not stream.busy.acquire(False):
                    stream.take(self)  # which says what is wrong
                taken.append(stream)
            rows = [stream.row for stream in streams]
            self._device.acquire()
            try:
                outputs = self._pieces(rows, arrays)
            finally:
                self._release()
        finally:
            for stream in taken:
                stream.busy.release()
        return chunk.result(outputs, arrays)

    def _stacked(self, values: Sequence[Any], count: int) -> list[np.ndarray]:
        """The values as arrays of `count` rows."""
        chunk = self.model.streams().chunk
        if not count:
            raise ArgumentError("no streams were given; a step needs at least one")
        leaves = [leaf for _, _, leaf in self.specs]
        axes = self._store.input_axes
        wide = [_with_rows(leaf, axis, count) for leaf, axis in zip(leaves, axes, strict=True)]
        arrays = chunk.arrays(values, wide)
        for array, leaf in zip(arrays, wide, strict=True):
            if array.shape != leaf.shape:
                raise SignatureError(
                    f"{chunk.where(leaf)} has shape {list(array.shape)}; a step of {count} streams "
                    f"takes {list(leaf.shape)}"
                )
        return chunk.ready(arrays)

    def _pieces(self, rows: list[int], arrays: list[np.ndarray]) -> list[np.ndarray]:
        most = self._store.largest
        if len(rows) <= most:
            return self._call(rows, arrays)
        parts = []
        for start in range(0, len(rows), most):
            some = slice(start, start + most)
            axes = self._store.input_axes
            cut = [a[(slice(None),) * x + (some,)] for a, x in zip(arrays, axes, strict=True)]
            parts.append(self._call(rows[some], cut))
        axes = self._store.output_axes
        return [np.concatenate(p, axis) for p, axis in zip(zip(*parts, strict=True), axes,
                                                           strict=True)]  # fmt: skip

    def _call(self, rows: list[int], arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One call of the model; the device lock is held."""
        self._ready()
        self._store.check(rows)
        try:
            return self._store.step(rows, arrays)
        except DeviceLostError:
            self.model.lost(self._store.runner)
            raise
        finally:
            if self._gone:
                self._store.forget()

    def _ready(self) -> None:
        self.check()
        self._store.use(self.model.runner())

    def submit(self, request: Request) -> None:
        """Queue a step; a thread that waits for steps is woken by the last that it waits for."""
        self._queue.append(request)
        if len(self._queue) >= self._wanted:
            with self._arrived:
                self._arrived.notify()

    def withdraw(self, request: Request) -> None:
        """Forget a step that was cancelled."""
        with suppress(ValueError):  # it may have been taken, and dropped
            self._queue.remove(request)

    def serve(self, request: Request) -> None:
        """Wait until a step is done; run the calls for whoever waits if nobody else does."""
        while not request.done:
            if self._device.acquire(False):
                try:
                    while not request.done and self._serve_some():
                        pass
                finally:
                    self._release()
            else:
                request.wait()

    def drive(self) -> None:
        """Serve until nobody waits: for steps that no thread waits for."""
        while True:
            with self._alone():
                while self._serve_some():
                    pass
            with self._arrived:
                if not self._queue:
                    self._driven = False
                    return

    def call_driver(self) -> None:
        """Have a thread drive, if none does."""
        with self._arrived:
            driven, self._driven = self._driven, True
        if not driven:
            try:
                self.model.executor().submit(self.drive)
            except BaseException:
                self._driven = False
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._device.acquire()
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        """Let others run, and wake the thread that waits longest, so that it serves the rest."""
        self._device.release()
        with suppress(IndexError):
            self._queue[0].wake()

    def _serve_some(self) -> bool:
        """Run one call for the steps that came first; whether there were any."""
        requests = self._next_requests()
        if not requests:
            return False
        outputs: list[list[np.ndarray]] = []
        error: BaseException | None = StateError("the thread that ran this step was interrupted")
        try:
            outputs = self._rows_of(requests)
            error = None
        except Exception as failed:  # whatever it is, it belongs to those who wait
            error = failed
        finally:
            for i, request in enumerate(requests):
                request.finish(outputs[i] if error is None else [], error)
            deliver(requests)
        return True

    def _next_requests(self) -> list[Request]:
        most = self._store.largest
        if self.max_wait and self._queue:
            self._wait_for(most)
        taken: list[Request] = []
        while self._queue and len(taken) < most:
            request = self._queue.popleft()
            if request.start():
                taken.append(request)
        return sorted(taken, key=lambda request: request.row)

    def _wait_for(self, most: int) -> None:
        """Wait until as many steps have come as can come, or `max_wait` is over."""
        end = time.monotonic() + self.max_wait
        with self._arrived:
            self._wanted = min(most, len(self._open))
            while len(self._queue) < self._wanted:
                if not self._arrived.wait(end - time.monotonic()):
                    break
            self._wanted = _NOBODY

    def _rows_of(self, requests: list[Request]) -> list[list[np.ndarray]]:
        """The outputs of each request."""
        columns = zip(*[request.arrays for request in requests], strict=True)
        axes = self._store.input_axes
        stacked = [np.stack(c, axis) for c, axis in zip(columns, axes, strict=True)]
        outputs = self._call([request.row for request in requests], stacked)
        axes = self._store.output_axes
        first = [np.moveaxis(o, axis, 0) for o, axis in zip(outputs, axes, strict=True)]
        return [[o[i].copy() for o in first] for i in range(len(requests))]

    def states(self, row: int) -> dict[str, np.ndarray]:
        """Copies of the states of a row."""
        with self._alone():
            self._ready()
            return self._store.read(row)

    def set_states(self, row: int, states: Mapping[str, Any]) -> None:
        """Replace the states of a row."""
        with self._alone():
            self._ready()
            self._store.write(row, states)

    def reset(self, row: int) -> None:
        """Put a row at the start."""
        with self._alone():
            self._ready()
            self._store.begin(row)

    def leave(self, row: int) -> None:
        """Free the row of a stream that closes."""
        with self._alone():
            if self._open.pop(row, None) is not None:
                self._free.append(row)

    def check(self) -> None:
        """Raise `StateError` if this batcher was closed."""
        if self._gone:
            raise StateError(self._gone)

    def adopt(self, old: Runner, new: Runner) -> None:
        """Go on with other weights and the same states, after a call that runs now."""
        with self._alone():
            if self._store.runner is old:
                self._store.use(new)

    def lose(self, runner: Runner) -> None:
        """Nothing yet: the next call sees the new device, and drops what the lost one had."""

    def close(self) -> None:
        """Close all streams; a closed batcher raises `StateError`."""
        self._gone = self._gone or "this batcher was closed; make another with model.batcher()"
        self._store.forget()

    def abandon(self, why: str) -> None:
        """Make every further use raise `StateError` with this reason; nothing is freed."""
        self._gone, self._device, self._arrived = why, threading.Lock(), threading.Condition()
        self._wanted, self._driven = _NOBODY, False
        leak(self._store)

    def __enter__(self) -> "Batcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Batcher of {self.model.name!r}: {self.streams} of {self.max_streams} streams>"


def _with_rows(leaf: Any, axis: int, count: int) -> Any:
    shape = (*leaf.shape[:axis], count, *leaf.shape[axis:])
    return type(leaf)(leaf.name, shape, leaf.dtype)
