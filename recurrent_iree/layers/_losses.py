"""The part of `Layer` that keeps losses and state updates of its calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError

from ._node import contains_symbolic
from ._scope import current_scope, is_traced
from ._variable import Variable


@dataclass(frozen=True)
class Update:
    """The new values that one call gives to stored states.

    ``values`` are arrays (already assigned) after a call with arrays, and symbolic tensors after a
    symbolic call.
    """

    variables: tuple[Variable, ...]
    values: tuple[Any, ...]


class KeepsLosses:
    """Losses and updates, each with the inputs that it depends on.

    Symbolic calls add up. A call with arrays replaces what the previous such call left, so that a
    long-running stream does not grow; until the next symbolic call, `losses` and `updates` are
    those of that call with arrays.
    """

    name: str
    activity_regularizer: Any

    @property
    def losses(self) -> list[Any]:
        """Losses of weight regularizers, then of the recorded calls, of this layer and inside."""
        return self._weight_losses() + self._conditional("_call_losses")

    @property
    def updates(self) -> list[Any]:
        """One `Update` per recorded call of a stateful layer."""
        return self._conditional("_call_updates")

    def add_loss(self, losses: Any) -> None:
        """Add a loss, or a list of them.

        Inside `call`, a scalar array is a loss of that call, which depends on its inputs. A
        function without arguments, added anywhere, is a loss that depends on no input: `losses`
        calls it.

        Raises:
            ArgumentError: (a ValueError) an array outside `call`, as in a cell, whose steps run
                in a loop.

        >>> from recurrent_iree.layers import Dense
        >>> layer = Dense(2)
        >>> layer.add_loss(lambda: sum((w.value**2).sum() for w in layer.weights))
        >>> len(layer.losses)
        1
        """
        for loss in losses if isinstance(losses, list | tuple) else [losses]:
            if callable(loss):
                self.__dict__.setdefault("_loss_functions", []).append(loss)
                continue
            adding = self.__dict__.get("_adding")
            if adding is None:
                raise ArgumentError(
                    f"`add_loss` of layer `{self.name}` got an array outside its `call` (a cell "
                    "runs in a loop, outside of calls): add it in the layer around it, or give a "
                    "function without arguments."
                )
            adding.append(jnp.asarray(loss))

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """The losses that depend on ``inputs``; for None, those that depend on no input.

        Args:
            inputs: a tensor or list of tensors that the layer was called with (the same objects).
        """
        if inputs is None:
            return self._weight_losses()
        return self._depending("_call_losses", inputs)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """The updates that depend on ``inputs`` (as in `get_losses_for`); none for None."""
        return [] if inputs is None else self._depending("_call_updates", inputs)

    def _weight_losses(self) -> list[Any]:
        variables = getattr(self, "weights", [])
        losses = [v.regularizer(v.value) for v in variables if v.regularizer is not None]
        return losses + [loss() for loss in self._functions()]

    def _functions(self) -> list[Callable[[], Any]]:
        found = list(self.__dict__.get("_loss_functions", []))
        for layer in getattr(self, "_sublayers", list)():
            found += layer._functions()
        return found

    @contextmanager
    def _collecting(self) -> Iterator[list[Any]]:
        """Collect the losses that `call` adds."""
        outer, losses = self.__dict__.get("_adding"), []
        self.__dict__["_adding"] = losses
        try:
            yield losses
        finally:
            self.__dict__["_adding"] = outer

    def _conditional(self, kind: str) -> list[Any]:
        records = self.__dict__.get(kind, [])
        latest = [item for sources, item in records if not contains_symbolic(sources)]
        found = latest or [item for _, item in records]
        for layer in getattr(self, "_sublayers", list)():
            found = found + layer._conditional(kind)
        return found

    def _depending(self, kind: str, inputs: Any) -> list[Any]:
        wanted = {id(leaf) for leaf in jax.tree.leaves(inputs)}
        records = self.__dict__.get(kind, [])
        return [item for sources, item in records if wanted & {id(leaf) for leaf in sources}]

    def _keep(self, kind: str, sources: list[Any], items: list[Any]) -> None:
        kept = self.__dict__.setdefault(kind, [])
        kept[:] = [record for record in kept if contains_symbolic(record[0])]
        kept.extend((sources, item) for item in items)

    def _regularize(self, outputs: Any) -> list[Any]:
        if self.activity_regularizer is None:
            return []
        return [self.activity_regularizer(leaf) for leaf in jax.tree.leaves(outputs)]

    def _keep_losses(self, sources: list[Any], losses: list[Any]) -> None:
        scope = current_scope()
        if scope is not None:
            scope.losses.extend(losses)
        elif not is_traced(losses):
            self._keep("_call_losses", sources, losses)

    def _keep_update(self, sources: list[Any]) -> None:
        variables = tuple(self.__dict__.get("_states_owned", []))
        if variables:
            values = tuple(variable.value for variable in variables)
            self._keep("_call_updates", sources, [Update(variables, values)])
