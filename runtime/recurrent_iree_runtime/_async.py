"""Steps for asyncio: done on a thread, one at a time for each stream, safe to cancel.

Who awaits has imported asyncio; for all others it would be a tenth of the import of the runtime.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from ._errors import StateError

_AWAITED = (
    "another task waits for a step of this stream. Steps come one after the other: await the one "
    "before the next, or open one stream per task"
)


class Turns:
    """The order of the awaited steps of one stream."""

    def __init__(self) -> None:
        self._taken = False
        self._left: Future[Any] | None = None

    def take(self) -> None:
        """Begin the turn of one task; raises `StateError` while another has it."""
        if self._taken:
            raise StateError(_AWAITED)
        self._taken = True

    def give_back(self) -> None:
        """End the turn."""
        self._taken = False

    async def run(
        self,
        executor: Executor,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call a function on a thread, once a step that a cancelled task left behind has ended."""
        import asyncio

        self.take()
        try:
            while self._left is not None and not self._left.done():
                await _ended(self._left)
            self._left = None
            future = executor.submit(function, *args, **kwargs)
            try:
                return await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                if not future.cancel():
                    self._left = future
                raise
        finally:
            self.give_back()


async def _ended(future: Future[Any]) -> None:
    """Wait for the end of a step whose result nobody wants."""
    import asyncio

    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([wrapped])
