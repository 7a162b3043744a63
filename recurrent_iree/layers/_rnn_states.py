"""The stored states of a stateful recurrent layer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree_runtime import ArgumentError, LayerAttributeError

from ._cells import initial_states, state_tree
from ._shape import first_shape, map_shapes, shapes_of
from ._variable import Variable


class KeepsStates:
    """`states` and `reset_states` of `RNN`."""

    cell: Any
    name: str
    stateful: bool
    time_major: bool

    @property
    def states(self) -> list[Any]:
        """The stored states, flat; one None per state before a stateful layer is built."""
        stored = self._stored_variables()
        if not stored:
            return [None] * len(shapes_of(state_tree(self.cell)))
        return [variable.value for variable in stored]

    def reset_states(self, states: Any = None) -> None:
        """Set the stored states: to zeros, or to ``states``.

        Args:
            states: an array, or a list of arrays, of the shapes of the stored states.

        Raises:
            LayerAttributeError: (an AttributeError) not stateful, or not built.
            ArgumentError: (a ValueError) wrong number or shape; nothing is changed then.
        """
        if not self.stateful:
            raise LayerAttributeError(
                f"`reset_states`: layer `{self.name}` must be stateful: make it with stateful=True."
            )
        stored = self._stored_variables()
        if not stored:
            raise LayerAttributeError(
                f"`reset_states`: layer `{self.name}` has no states before it is built: call it, "
                "or call `build(input_shape)` with the batch size."
            )
        if states is None:
            states = [jnp.zeros(variable.shape, variable.dtype) for variable in stored]
        else:
            states = jax.tree.leaves(states)
        if len(states) != len(stored):
            raise ArgumentError(
                f"layer `{self.name}` expects {len(stored)} states, but `reset_states` received "
                f"{len(states)} arrays."
            )
        for index, (variable, state) in enumerate(zip(stored, states, strict=True)):
            if tuple(np.shape(state)) != variable.shape:
                raise ArgumentError(
                    f"`reset_states`: state {index} is incompatible with layer `{self.name}`: "
                    f"expected shape {variable.shape}, got {tuple(np.shape(state))}."
                )
        for variable, state in zip(stored, states, strict=True):
            variable.assign(state)

    def _create_states(self, input_shape: Any) -> None:
        """Stored states, from the cell's initial ones (zeros if it has none)."""
        batch = first_shape(input_shape)[1 if self.time_major else 0]
        if not isinstance(batch, int):
            raise ArgumentError(
                f"layer `{self.name}` is stateful and needs a fixed batch size, got the input "
                f"shape {input_shape}: give `batch_input_shape`, `batch_size`, or arrays."
            )
        dtype = self._dtype or self._weight_dtype()  # type: ignore[attr-defined]
        example = map_shapes(
            lambda shape: jnp.zeros([1 if size is None else size for size in shape], dtype),
            input_shape,
        )
        for index, state in enumerate(initial_states(self.cell, example, batch, dtype)):
            self.add_state(f"state_{index}", state)  # type: ignore[attr-defined]

    def _stored_variables(self) -> list[Variable]:
        return list(self.__dict__.get("_states_owned", []))

    def _stored(self, batch: Any) -> list[Any]:
        states = [variable.value for variable in self._stored_variables()]
        for state in states:
            if state.shape[0] != batch:
                raise ArgumentError(
                    f"layer `{self.name}` is stateful with states for a batch of "
                    f"{state.shape[0]}, got inputs with a batch of {batch}."
                )
        return states

    def _store(self, states: list[Any]) -> None:
        for variable, state in zip(self._stored_variables(), states, strict=True):
            variable.assign(state)
