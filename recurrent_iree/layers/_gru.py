"""Gated recurrent unit."""

from typing import Any

import jax.numpy as jnp

from ._activations import activation_config, get_activation
from ._cell_base import RecurrentCell, only_state
from ._cell_layer import CellLayer
from ._registry import register


@register
class GRUCell(RecurrentCell):
    """One step of a GRU; columns z, r, h.

        z = ract(x @ Kz + bz + h @ Rz)
        r = ract(x @ Kr + br + h @ Rr)
        q = act(x @ Kh + bh + (r * h) @ Rh)                 # reset_after=False
        q = act(x @ Kh + bh + r * (h @ Rh + b1h))           # reset_after=True; b1 joins z and r too
        h' = z * h + (1 - z) * q

    Args:
        units: the size of `h`.
        activation, recurrent_activation: names or functions, `act` and `ract` above.
        use_bias: whether there is a bias.
        reset_after: apply the reset gate after the recurrent product (the default of TF 2.x).
        implementation: accepted for old code; it changes no number.
        kernel_initializer, …: as the weights are called.

    Weights: kernel ``[features, 3 * units]``, recurrent_kernel ``[units, 3 * units]``, bias
    ``[3 * units]``, or ``[2, 3 * units]`` (input row, recurrent row) with ``reset_after``.

    >>> from recurrent_iree.layers import GRUCell
    >>> cell = GRUCell(4)
    >>> cell.build((None, 3))
    >>> [weight.shape for weight in cell.weights]
    [(3, 12), (4, 12), (2, 12)]
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        reset_after: bool = True,
        implementation: int = 2,
        **options: Any,
    ):
        super().__init__(units, activation, use_bias, **options)
        self.recurrent_activation = get_activation(recurrent_activation)
        self.reset_after = reset_after
        self.implementation = implementation

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """``(h', [h'])``."""
        h = only_state(states)
        inputs, dropped = self._dropped(inputs, h, training)
        step = self._reset_after if self.reset_after else self._reset_before
        z, q = step(inputs, dropped)
        h = z * h + (1 - z) * q
        return h, [h] if isinstance(states, list | tuple) else h

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "recurrent_activation": activation_config(self.recurrent_activation),
            "reset_after": self.reset_after,
            "implementation": self.implementation,
        }

    def _reset_after(self, inputs: Any, h: Any) -> tuple[Any, Any]:
        x = inputs @ self.kernel
        y = h @ self.recurrent_kernel
        if self.use_bias:
            bias = self.bias
            x, y = x + bias[0], y + bias[1]
        xz, xr, xh = jnp.split(x, 3, axis=-1)
        yz, yr, yh = jnp.split(y, 3, axis=-1)
        r = self.recurrent_activation(xr + yr)
        return self.recurrent_activation(xz + yz), self.activation(xh + r * yh)

    def _reset_before(self, inputs: Any, h: Any) -> tuple[Any, Any]:
        xz, xr, xh = jnp.split(self._with_bias(inputs @ self.kernel), 3, axis=-1)
        gates, candidate = jnp.split(self.recurrent_kernel, [2 * self.units], axis=-1)
        yz, yr = jnp.split(h @ gates, 2, axis=-1)
        r = self.recurrent_activation(xr + yr)
        return self.recurrent_activation(xz + yz), self.activation(xh + (r * h) @ candidate)

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)


@register
class GRU(CellLayer):
    """Gated recurrent unit: `RNN` over a `GRUCell`.

    Args:
        units, activation, recurrent_activation, use_bias, reset_after, implementation and the
            initializers and regularizers: of `GRUCell`.
        return_sequences, return_state, go_backwards, stateful, unroll, time_major and the rest: of
            `RNN`.

    ``[batch, time, features]`` → ``[batch, units]`` (see `RNN`); one state ``h``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import GRU
    >>> GRU(4)(jnp.ones((2, 5, 3))).shape
    (2, 4)
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
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 2,
        reset_after: bool = True,
        **options: Any,
    ):
        cell = GRUCell(
            units,
            activation,
            recurrent_activation,
            use_bias,
            reset_after,
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
