"""One stream of a batcher."""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._async import Turns
from ._errors import SignatureError, StateError
from ._request import Request, TaskRequest

if TYPE_CHECKING:
    from ._batcher import Batcher

_BUSY = (
    "this stream is in another step. A stream belongs to one thread at a time; open one per thread "
    "with batcher.stream()"
)
_CLOSED = "this stream was closed; open another with batcher.stream()"


class Stream:
    """One stream of a batcher. Made by `batcher.stream()`; used by one thread or task at a time.

    Inputs and outputs of a step are those of the program without the batch and without the time.
    """

    def __init__(self, batcher: "Batcher", row: int) -> None:
        self.batcher, self.row = batcher, row
        self.busy = threading.Lock()
        self._turns = Turns()
        self._left: TaskRequest | None = None
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
        import asyncio

        arrays = self._arrays(args, kwargs)
        self._turns.take()
        try:
            while self._left is not None and not self._left.done:
                await asyncio.sleep(0.001)
            self._left = None
            self.take(self.batcher)
            request = TaskRequest(self, arrays, asyncio.get_running_loop())
            try:
                self.batcher.submit(request)
                self.batcher.call_driver()
                await request.waiter
            except BaseException:  # it was cancelled, or the model was closed just now
                if request.cancel():
                    self.batcher.withdraw(request)
                else:
                    self._left = request
                raise
        finally:
            self._turns.give_back()
        if request.error is not None:
            raise request.error
        return self.batcher.model.streams().chunk.result(request.outputs, arrays)

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
