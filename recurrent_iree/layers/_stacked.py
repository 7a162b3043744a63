"""`StackedRNNCells`: several cells as one."""

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError

from ._base import Layer, accepts
from ._cells import call_cell, check_cell, initial_states, output_shape, state_tree
from ._registry import from_config, register, to_config
from ._scope import isolated
from ._shape import TensorShape, first_shape, map_shapes, shapes_of


@register
class StackedRNNCells(Layer):
    """Cells on top of each other: the output of one is the input of the next.

    Args:
        cells: a list of cells.
        reverse_state_order: list the states from the last cell to the first (TensorFlow ≤ 1.10).

    The states are flat, cell by cell: an LSTM cell and a GRU cell give ``[h1, c1, h2]``.

    Raises:
        ArgumentError: (a ValueError) no cells, or an object that is no cell.

    >>> from recurrent_iree.layers import GRUCell, LSTMCell, StackedRNNCells
    >>> StackedRNNCells([LSTMCell(2), GRUCell(3)]).state_size
    [TensorShape([2]), TensorShape([2]), TensorShape([3])]
    """

    def __init__(self, cells: Any, reverse_state_order: bool = False, **options: Any):
        if not isinstance(cells, list | tuple) or not cells:
            raise ArgumentError(f"`cells` must be a list of at least one cell, got {cells!r}.")
        for index, cell in enumerate(cells):
            check_cell(cell, f"cells[{index}]")
        super().__init__(**options)
        self.cells = list(cells)
        self.reverse_state_order = reverse_state_order

    @property
    def state_size(self) -> list[TensorShape]:
        """The shapes of all states, flat."""
        return [shape for cell in self._ordered() for shape in shapes_of(state_tree(cell))]

    @property
    def output_size(self) -> TensorShape:
        """The shape of the last cell's output."""
        return output_shape(self.cells[-1])

    def zero_state(self, batch_size: int, dtype: Any = "float32") -> list[Any]:
        """Zeros for all states, flat, for `raw_rnn`."""
        return [jnp.zeros((batch_size, *shape), dtype) for shape in self.state_size]

    @property
    def takes_constants(self) -> bool:
        """Whether any cell takes ``constants``."""
        return any(accepts(cell.call, "constants") for cell in self.cells)

    def build(self, input_shape: Any) -> None:
        """Build each cell for the output of the one below; ``input_shape`` is of one step."""
        shape, batch = input_shape, first_shape(input_shape)[0]
        for cell in self.cells:
            build_cell(cell, shape, self._dtype)
            shape = (batch, *output_shape(cell))
        self.built = True

    def call(self, inputs: Any, states: Any, constants: Any = None, training: Any = None) -> Any:
        """One step through all cells."""
        by_cell = self._split(list(states))
        new_states: dict[int, list[Any]] = {}
        for index, cell in enumerate(self.cells):
            options = {}
            if constants is not None and accepts(cell.call, "constants"):
                options["constants"] = constants
            if training is not None and accepts(cell.call, "training"):
                options["training"] = training
            inputs, new_states[index] = call_cell(cell, inputs, by_cell[index], options)
        return inputs, [state for index in self._order() for state in new_states[index]]

    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> list[Any]:
        """The initial states of all cells, flat."""
        cells = self._ordered()
        return [s for cell in cells for s in initial_states(cell, inputs, batch_size, dtype)]

    def get_config(self) -> dict[str, Any]:
        """The configurations of the cells."""
        config = super().get_config() | {"cells": [to_config(cell) for cell in self.cells]}
        if self.reverse_state_order:
            config["reverse_state_order"] = True
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        cells = [from_config(cell, custom_objects) for cell in config["cells"]]
        return cls(**{**config, "cells": cells})

    def _order(self) -> list[int]:
        order = list(range(len(self.cells)))
        return order[::-1] if self.reverse_state_order else order

    def _ordered(self) -> list[Any]:
        return [self.cells[index] for index in self._order()]

    def _split(self, states: list[Any]) -> dict[int, list[Any]]:
        by_cell = {}
        for index in self._order():
            count = len(shapes_of(state_tree(self.cells[index])))
            by_cell[index], states = states[:count], states[count:]
        return by_cell


def build_cell(cell: Any, step_shape: Any, dtype: Any) -> None:
    """Build a cell once, giving it the dtype of its layer."""
    if isinstance(cell, Layer):
        if cell.built:
            return
        if cell._dtype is None:
            cell._dtype = dtype
        if type(cell).build is Layer.build:
            _build_inside(cell, step_shape, dtype)
            return
    if hasattr(cell, "build") and not getattr(cell, "built", False):
        cell.build(step_shape)
        if isinstance(cell, Layer):
            cell.built = True
            cell._take_first_weights()


def _build_inside(cell: Layer, step_shape: Any, dtype: str | None) -> None:
    """Run one step on shapes only, so that the layers inside a cell build themselves."""
    if any(not layer.built for layer in cell._sublayers()):
        kind = jnp.dtype(dtype or "float32")

        def example(shape: tuple[int | None, ...]) -> Any:
            return jax.ShapeDtypeStruct([1 if size is None else size for size in shape], kind)

        inputs = map_shapes(example, step_shape)

        def step(inputs: Any) -> Any:
            whole = jax.tree.map(lambda leaf: leaf[:, None], inputs)
            batch = jax.tree.leaves(inputs)[0].shape[0]
            states = initial_states(cell, whole, batch, kind)
            with isolated(f"cell `{cell.name}`"):
                return call_cell(cell, inputs, states, {})

        jax.eval_shape(step, inputs)
    cell.built = True
