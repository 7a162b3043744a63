"""The simplest recurrent layer."""

from typing import Any

from ._cell_base import RecurrentCell, only_state
from ._cell_layer import CellLayer
from ._registry import register


@register
class SimpleRNNCell(RecurrentCell):
    """One step: ``h' = act(x @ kernel + h @ recurrent_kernel + bias)``.

    Args:
        units: the size of `h`.
        activation: a name or function.
        use_bias: whether there is a bias.
        kernel_initializer, …: as the weights are called.

    Weights: kernel ``[features, units]``, recurrent_kernel ``[units, units]``, bias ``[units]``.

    >>> from recurrent_iree.layers import SimpleRNNCell
    >>> SimpleRNNCell(4).state_size
    4
    """

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """``(h', [h'])``."""
        inputs, h = self._dropped(inputs, only_state(states), training)
        h = self.activation(self._with_bias(inputs @ self.kernel + h @ self.recurrent_kernel))
        return h, [h] if isinstance(states, list | tuple) else h


@register
class SimpleRNN(CellLayer):
    """`RNN` over a `SimpleRNNCell`.

    Args:
        units, activation, use_bias and the initializers and regularizers: of `SimpleRNNCell`.
        return_sequences, return_state, go_backwards, stateful, unroll, time_major and the rest: of
            `RNN`.

    ``[batch, time, features]`` → ``[batch, units]`` (see `RNN`); one state ``h``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import SimpleRNN
    >>> SimpleRNN(4)(jnp.ones((2, 5, 3))).shape
    (2, 4)
    """

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
        cell = SimpleRNNCell(
            units,
            activation,
            use_bias,
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
