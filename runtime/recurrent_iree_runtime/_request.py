"""A step of a stream while it waits for a call: who waits for it, and how they hear of its end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from ._stream import Stream


class Request:
    """A step that a thread waits for."""

    __slots__ = ("_lock", "_stream", "arrays", "done", "error", "outputs", "row")

    loop: AbstractEventLoop | None = None

    def __init__(self, stream: Stream, arrays: Sequence[np.ndarray]) -> None:
        self._stream, self.row, self.arrays = stream, stream.row, arrays
        self.done = False
        self.outputs: list[np.ndarray] = []
        self.error: BaseException | None = None
        self._lock = threading.Lock()  # released when there is something to do
        self._begin()

    def _begin(self) -> None:
        self._lock.acquire()

    def start(self) -> bool:
        """Whether the step is still wanted; from now on it cannot be cancelled."""
        return True

    def wait(self) -> None:
        """Sleep until somebody should serve the queue, or the step is done."""
        self._lock.acquire()

    def finish(self, outputs: list[np.ndarray], error: BaseException | None) -> None:
        """Hand the outputs over."""
        self.outputs, self.error, self.done = outputs, error, True
        self.wake()

    def wake(self) -> None:
        """Have somebody serve the queue, or see that the step is done."""
        try:
            self._lock.release()
        except RuntimeError:  # it is awake
            return


class TaskRequest(Request):
    """A step that a task of an event loop waits for; `deliver` tells the loop of its end."""

    __slots__ = ("loop", "waiter")

    def __init__(
        self, stream: Stream, arrays: Sequence[np.ndarray], loop: AbstractEventLoop
    ) -> None:
        super().__init__(stream, arrays)
        self.loop = loop
        self.waiter = loop.create_future()

    def _begin(self) -> None:
        """Nothing: the lock is taken by whoever decides first, a call or a cancellation."""

    def start(self) -> bool:
        """Whether the step is still wanted; from now on it cannot be cancelled."""
        return self._lock.acquire(False)

    def cancel(self) -> bool:
        """Whether the step is not done, and never will be."""
        if not self._lock.acquire(False):
            return False
        self._stream.give_back()
        return True

    def finish(self, outputs: list[np.ndarray], error: BaseException | None) -> None:
        """Keep the outputs, and let the next step of the stream come."""
        self.outputs, self.error = outputs, error
        self._stream.give_back()
        self.done = True

    def wake(self) -> None:
        """Have a thread serve the queue."""
        self._stream.batcher.call_driver()


def deliver(requests: Iterable[Request]) -> None:
    """Tell event loops which of their steps are done: once for all, because it costs a system call.

    >>> deliver([])
    """
    ended: dict[AbstractEventLoop, list[TaskRequest]] = {}
    for request in requests:
        if isinstance(request, TaskRequest) and request.loop is not None:
            ended.setdefault(request.loop, []).append(request)
    for loop, some in ended.items():
        try:
            loop.call_soon_threadsafe(_settle, some)
        except RuntimeError:  # the loop was closed, and its tasks with it
            continue


def _settle(requests: list[TaskRequest]) -> None:
    for request in requests:
        if not request.waiter.done():
            request.waiter.set_result(None)
