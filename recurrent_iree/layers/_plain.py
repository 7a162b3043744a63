"""Layers without weights: `Activation`, `Dropout`, `Flatten`."""

import math
from typing import Any

from ._activations import activation_config, get_activation
from ._base import Layer
from ._dropping import drop, read_rate
from ._registry import register


@register
class Activation(Layer):
    """An activation function as a layer.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import Activation
    >>> Activation("relu")(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Any):
        super().__init__(**options)
        self.activation = get_activation(activation)

    def call(self, inputs: Any) -> Any:
        """``activation(inputs)``."""
        return self.activation(inputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``input_shape``."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"activation": activation_config(self.activation)}


@register
class Dropout(Layer):
    """In training, zeros with probability ``rate`` and the rest divided by ``1 - rate``.

    The random key comes from `stateless_call(…, key=…)`, else from the stream of `set_seed`.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import Dropout
    >>> Dropout(0.5)(jnp.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    supports_masking = True

    def __init__(self, rate: float, **options: Any):
        super().__init__(**options)
        self.rate = read_rate(rate, "rate")

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The inputs, dropped out if ``training``."""
        return drop(inputs, self.rate) if training else inputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``input_shape``."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"rate": self.rate}


@register
class Flatten(Layer):
    """``[batch, …]`` → ``[batch, features]``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import Flatten
    >>> Flatten()(jnp.ones((2, 3, 4))).shape
    (2, 12)
    """

    def call(self, inputs: Any) -> Any:
        """The inputs with all dimensions after the batch in one."""
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``(batch, product of the rest)``."""
        batch, *rest = tuple(input_shape)
        return (batch, None if None in rest else math.prod(rest))
