"""A state on the device that is used once: passing it on consumes it."""

from typing import Any, NoReturn

from ._drivers._base import Buffer
from ._errors import ArgumentTypeError, StateError

_CONSUMED = """this state was consumed by an earlier call, and the device has overwritten it. \
Probably you have done something like:

    y1, state1 = model.advance(state0, x1)
    y2, state2 = model.advance(state0, x2)  # bug! state0 is used up: pass state1

Use the state that the last call returned, or keep a copy first with state.clone()."""


class State:
    """The states of one stream, on the device; `model.advance` consumes it and returns the next.

    Made by `model.initial_state()`. Not thread-safe.
    """

    __slots__ = ("_buffers", "_function", "_model", "_runner")

    def __init__(self, model: Any, runner: Any, function: Any, buffers: list[Buffer]) -> None:
        self._model, self._runner, self._function = model, runner, function
        self._buffers: list[Buffer] | None = buffers

    def _take(self, model: Any, runner: Any) -> list[Buffer]:
        """The buffers, once; afterwards this state is poisoned."""
        buffers = self._peek(model, runner)
        self._buffers = None
        return buffers

    def _peek(self, model: Any, runner: Any) -> list[Buffer]:
        if self._model is not model:
            raise StateError("this state belongs to another model; use initial_state() of this one")
        if self._buffers is None:
            raise StateError(_CONSUMED)
        if self._runner.home is not runner.home:
            raise StateError("the device was lost after this state was made; start again with "
                             "initial_state()")  # fmt: skip
        return self._buffers

    def to_host(self) -> dict[str, Any]:
        """Copies of the states as NumPy arrays, by name."""
        return self._model._state_to_host(self)

    def clone(self) -> "State":
        """An independent copy on the device."""
        return self._model._state_clone(self)

    def __repr__(self) -> str:
        return f"<State of {self._model.name!r}{', consumed' if self._buffers is None else ''}>"


def expect_state(value: Any) -> State | NoReturn:
    """Refuse anything that is no `State`."""
    if not isinstance(value, State):
        raise ArgumentTypeError(
            f"state is a {type(value).__name__}; expected a State from model.initial_state()"
        )
    return value
