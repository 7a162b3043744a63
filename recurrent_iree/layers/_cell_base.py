"""What the built-in cells have in common: sizes, weights and their configuration."""

from typing import Any

import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._activations import activation_config, get_activation
from ._base import Layer
from ._cells import state_tree
from ._dropping import drop, read_rate
from ._initializers import get_initializer, initializer_config
from ._registry import to_config
from ._regularizers import get_regularizer
from ._shape import is_shape, shapes_of


def read_units(units: Any, argument: str = "units") -> int:
    """A positive integer.

    Raises:
        ArgumentTypeError: (a TypeError) not an integer.
        ArgumentError: (a ValueError) below 1.
    """
    if isinstance(units, bool) or not hasattr(units, "__index__"):
        raise ArgumentTypeError(
            f"`{argument}` must be a positive integer, got {type(units).__name__}."
        )
    if int(units) < 1:
        raise ArgumentError(f"`{argument}` must be at least 1, got {units}.")
    return int(units)


def only_state(states: Any) -> Any:
    """The state of a cell with one; `raw_rnn` hands it over without a list around it."""
    if not isinstance(states, list | tuple):
        return states
    (state,) = states
    return state


class RecurrentCell(Layer):
    """Kernel, recurrent kernel and bias for `gates` blocks of columns."""

    gates = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **options: Any,
    ):
        super().__init__(**options)
        self.units = read_units(units)
        self.activation = get_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = get_initializer(kernel_initializer)
        self.recurrent_initializer = get_initializer(recurrent_initializer)
        self.bias_initializer = get_initializer(bias_initializer)
        self.kernel_regularizer = get_regularizer(kernel_regularizer)
        self.recurrent_regularizer = get_regularizer(recurrent_regularizer)
        self.bias_regularizer = get_regularizer(bias_regularizer)
        self.dropout = read_rate(dropout, "dropout")
        self.recurrent_dropout = read_rate(recurrent_dropout, "recurrent_dropout")

    @property
    def state_size(self) -> Any:
        """The size of the state, or the list of sizes."""
        return self.units

    @property
    def output_size(self) -> int:
        """The size of the output."""
        return self.units

    def zero_state(self, batch_size: int, dtype: Any = "float32") -> Any:
        """Zeros for `raw_rnn`: an array ``[batch, units]``, or a list of one array per state.

        Raises:
            ArgumentError: (a ValueError) a size is known only when the cell is built.
        """
        shapes = shapes_of(state_tree(self))
        if any(size is None for shape in shapes for size in shape):
            raise ArgumentError(
                f"cell `{self.name}` does not know the sizes of its states {shapes} yet: call "
                "`build(step_shape)` before `zero_state`."
            )
        zeros = [jnp.zeros((batch_size, *shape), dtype) for shape in shapes]
        return zeros if isinstance(self.state_size, list) else zeros[0]

    def build(self, input_shape: Any) -> None:
        """Create the weights for one step of ``[batch, features]``."""
        shape = tuple(input_shape)
        if len(shape) != 2 or not is_shape(input_shape):
            raise ArgumentError(
                f"cell `{self.name}` takes steps of shape (batch, features), got {shape}: the "
                "inputs of its layer must be (batch, time, features)."
            )
        columns = self.gates * self.units
        self.kernel = self.add_weight(
            "kernel",
            (shape[-1], columns),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (self.units, columns),
            initializer=self.recurrent_initializer,
            regularizer=self.recurrent_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                self._bias_shape(),
                initializer=self._bias_initializer(),
                regularizer=self.bias_regularizer,
            )
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = {
            "units": self.units,
            "activation": activation_config(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }
        for name in ("kernel", "recurrent", "bias"):
            config[f"{name}_initializer"] = initializer_config(getattr(self, f"{name}_initializer"))
            config[f"{name}_regularizer"] = to_config(getattr(self, f"{name}_regularizer"))
        return super().get_config() | config

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_initializer(self) -> Any:
        return self.bias_initializer

    def _dropped(self, inputs: Any, h: Any, training: Any) -> tuple[Any, Any]:
        """Inputs and state with dropout; one pattern for all steps of a call."""
        if not training:
            return inputs, h
        return drop(inputs, self.dropout), drop(h, self.recurrent_dropout)

    def _with_bias(self, x: Any) -> Any:
        return x + self.bias if self.use_bias else x
