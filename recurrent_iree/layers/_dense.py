"""A fully connected layer."""

from typing import Any

from recurrent_iree_runtime import ArgumentError

from ._activations import activation_config, get_activation
from ._base import Layer
from ._cell_base import read_units
from ._initializers import get_initializer, initializer_config
from ._registry import register, to_config
from ._regularizers import get_regularizer


@register
class Dense(Layer):
    """``activation(x @ kernel + bias)`` on the last axis.

    Args:
        units: the size of the output.
        activation: a name or function; default linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: of the weights.

    ``[batch, …, features]`` → ``[batch, …, units]``. Masks pass through.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import Dense
    >>> Dense(4, "softmax")(jnp.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **options: Any,
    ):
        super().__init__(**options)
        self.units = read_units(units)
        self.activation = get_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = get_initializer(kernel_initializer)
        self.bias_initializer = get_initializer(bias_initializer)
        self.kernel_regularizer = get_regularizer(kernel_regularizer)
        self.bias_regularizer = get_regularizer(bias_regularizer)
        self._features: int | None = None

    def build(self, input_shape: Any) -> None:
        """Create kernel ``[features, units]`` and bias ``[units]``."""
        shape = tuple(input_shape)
        if len(shape) < 2:
            raise ArgumentError(
                f"layer `{self.name}` needs inputs of rank at least 2 (batch, …, features), got "
                f"shape {shape}."
            )
        self.kernel = self.add_weight(
            "kernel",
            (shape[-1], self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                (self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
            )
        self._features = shape[-1]
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The outputs for ``[batch, …, features]``."""
        if inputs.shape[-1] != self._features:
            raise ArgumentError(
                f"layer `{self.name}` was built for {self._features} features, got inputs of "
                f"shape {tuple(inputs.shape)}."
            )
        outputs = inputs @ self.kernel
        return self.activation(outputs + self.bias if self.use_bias else outputs)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``(*input_shape[:-1], units)``."""
        return (*tuple(input_shape)[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "units": self.units,
            "activation": activation_config(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializer_config(self.kernel_initializer),
            "bias_initializer": initializer_config(self.bias_initializer),
            "kernel_regularizer": to_config(self.kernel_regularizer),
            "bias_regularizer": to_config(self.bias_regularizer),
        }
