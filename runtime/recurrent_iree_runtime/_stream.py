"""One stream of a batcher, and its step while it waits for a call."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from ._async import Turns
from ._errors import SignatureError, StateError

if TYPE_CHECKING:
    from ._batcher import Batcher

_BUSY = (
    "this stream is in another step. A stream belongs to one thread at a time; open one per thread "
    "with batcher.stream()"
)
_CLOSED = "this stream was closed; open another with batcher.stream()"


class Request:
    """A step that waits; `future` is set if no thread waits for it."""

    __slots__ = ("_stream", "arrays", "done", "error", "future", "outputs", "ready", "row")

    def __init__(self, stream: "Stream", arrays: Sequence[np.ndarray]) -> None:
        self._stream, self.row, self.arrays = stream, stream.row, arrays
        self.done = False
        self.outputs: list[np.ndarray] = []
        self.error: BaseException | None = None
        self.future: Future[Any] | None = None
        self.ready = threading.Lock()  # released when there is something to do; cheaper than Event
        self.ready.acquire()

    def start(self) -> bool:
        """Whether the step is still wanted; from now on it cannot be cancelled."""
        return self.future is None or self.future.set_running_or_notify_cancel()

    def finish(self, outputs: list[np.ndarray], error: BaseException | None) -> None:
        """Hand the outputs over."""
        self.outputs, self.error, self.done = outputs, error, True
        if self.future is None:
            self.wake()
            return
        self._stream.give_back()
        if error is None:
            self.future.set_result(outputs)
        else:
            self.future.set_exception(error)

    def wake(self) -> None:
        """Have somebody serve the queue, or see that the step is done."""
        if self.future is not None:
            self._stream.batcher.call_driver()
            return
        try:
            self.ready.release()
        except RuntimeError:  # it is awake
            return


class Stream:
    """One stream of a batcher. Made by `batcher.stream()`; used by one thread or task at a time.

    Inputs and outputs of a step are those of the program without the batch and without the time.
    """

    def __init__(self, batcher: "Batcher", row: int) -> None:
        self.batcher, self.row = batcher, row
        self.busy = threading.Lock()
        self._turns = Turns()
        self.closed = False

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Run one step, together with those of other streams that are ready.

        Raises `SignatureError` for inputs that do not fit; the state is then as before.
        """
        arrays = self._arrays(args, kwargs)
        self.take(self.batcher)
        try:
            request = Request(self, arrays)
            self.batcher.submit(request)
            self.batcher.serve(request)
        finally:
            self.give_back()
        if request.error is not None:
            raise request.error
        return self.batcher.model.streams().chunk.result(request.outputs, arrays)

    async def astep(self, *args: Any, **kwargs: Any) -> Any:
        """`step` for asyncio: other tasks go on meanwhile; see `Session.astep`."""
        arrays = self._arrays(args, kwargs)

        def start() -> "Future[Any]":
            self.take(self.batcher)
            request = Request(self, arrays)
            future = request.future = Future()
            future.add_done_callback(lambda done: done.cancelled() and self.give_back())
            self.batcher.submit(request)
            self.batcher.call_driver()
            return future

        outputs = await self._turns.wait(start)
        return self.batcher.model.streams().chunk.result(outputs, arrays)

    def _arrays(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[np.ndarray]:
        chunk = self.batcher.model.streams().chunk
        values = chunk.values(args, kwargs)
        specs = self.batcher.specs
        for value, (dtype, shape, _) in zip(values, specs, strict=True):
            if type(value) is not np.ndarray or value.dtype != dtype or value.shape != shape:
                break
        else:
            return list(values)
        arrays = chunk.arrays(values, [leaf for _, _, leaf in specs])
        for array, (_, shape, leaf) in zip(arrays, specs, strict=True):
            if array.shape != shape:
                raise SignatureError(f"{chunk.where(leaf)} has shape {list(array.shape)}; a step "
                                     f"of one stream takes {list(shape)}")  # fmt: skip
        return chunk.ready(arrays)

    def take(self, batcher: "Batcher") -> None:
        """Claim the stream for one step of this batcher."""
        if batcher is not self.batcher:
            raise StateError("this stream belongs to another batcher; step it with that one")
        batcher.check()
        if not self.busy.acquire(False):
            raise StateError(_BUSY)
        if self.closed:
            self.busy.release()
            raise StateError(_CLOSED)

    def give_back(self) -> None:
        """End the claim."""
        self.busy.release()

    @property
    def states(self) -> dict[str, np.ndarray]:
        """Copies of the states by name, without the batch."""
        self.take(self.batcher)
        try:
            return self.batcher.states(self.row)
        finally:
            self.give_back()

    def set_states(self, states: Mapping[str, Any]) -> None:
        """Replace all states, after a check of names, shapes and dtypes."""
        self.take(self.batcher)
        try:
            self.batcher.set_states(self.row, states)
        finally:
            self.give_back()

    def reset(self) -> None:
        """Go back to the initial states; also after a failed call or a lost device."""
        self.take(self.batcher)
        try:
            self.batcher.reset(self.row)
        finally:
            self.give_back()

    def close(self) -> None:
        """Leave the batcher, after a step that runs now; a closed stream raises `StateError`."""
        with self.busy:
            if not self.closed:
                self.closed = True
                self.batcher.leave(self.row)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream {self.row} of {self.batcher!r}{', closed' if self.closed else ''}>"
