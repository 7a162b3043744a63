"""Long short-term memory."""

from typing import Any

import jax.numpy as jnp

from ._activations import activation_config, get_activation
from ._cell_base import RecurrentCell
from ._cell_layer import CellLayer
from ._registry import register


@register
class LSTMCell(RecurrentCell):
    """One step of an LSTM.

        i, f, g, o = split4(x @ kernel + h @ recurrent_kernel + bias)
        c' = ract(f) * c + ract(i) * act(g)
        h' = ract(o) * act(c')

    Args:
        units: the size of `h` and `c`.
        activation, recurrent_activation: names or functions, `act` and `ract` above.
        use_bias: whether there is a bias.
        unit_forget_bias: the bias of the forget gate starts at one.
        implementation: accepted for old code; it changes no number.
        kernel_initializer, …: as the weights are called.

    States: ``[h, c]``, each ``[batch, units]``. Weights: kernel ``[features, 4 * units]``,
    recurrent_kernel ``[units, 4 * units]``, bias ``[4 * units]``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import LSTMCell
    >>> cell = LSTMCell(4)
    >>> cell.build((None, 3))
    >>> output, (h, c) = cell.call(jnp.ones((2, 3)), [jnp.zeros((2, 4)), jnp.zeros((2, 4))])
    >>> output.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        implementation: int = 2,
        **options: Any,
    ):
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = get_activation(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.implementation = implementation

    @property
    def state_size(self) -> list[int]:
        """The sizes of `h` and `c`."""
        return [self.units, self.units]

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """``(h', [h', c'])``."""
        h, c = states
        inputs, h = self._dropped(inputs, h, training)
        z = self._with_bias(inputs @ self.kernel + h @ self.recurrent_kernel)
        return self._gates(jnp.split(z, 4, axis=-1), c)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "recurrent_activation": activation_config(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
            "implementation": self.implementation,
        }

    def _gates(self, parts: list[Any], c: Any) -> Any:
        i, f, g, o = parts
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(g)
        h = gate(o) * self.activation(c)
        return h, [h, c]

    def _bias_initializer(self) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer

        def with_ones(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
            bias = self.bias_initializer(key, shape, dtype)
            return bias.at[self.units : 2 * self.units].set(1)

        return with_ones


@register
class LSTM(CellLayer):
    """Long short-term memory: `RNN` over an `LSTMCell`.

    Args:
        units, activation, recurrent_activation, use_bias, unit_forget_bias, implementation and the
            initializers and regularizers: of `LSTMCell`.
        return_sequences, return_state, go_backwards, stateful, unroll, time_major and the rest: of
            `RNN`.

    ``[batch, time, features]`` → ``[batch, units]`` (see `RNN`); states ``[h, c]``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import LSTM
    >>> LSTM(4, return_sequences=True)(jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 2,
        **options: Any,
    ):
        cell = LSTMCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            unit_forget_bias,
            implementation,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            dtype=options.get("dtype"),
        )
        super().__init__(cell, **options)
