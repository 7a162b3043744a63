"""A layer applied to every step of a sequence."""

from collections.abc import Mapping
from typing import Any, Self

import jax

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._base import Layer, accepts
from ._registry import from_config, register, to_config
from ._scope import isolated


@register
class TimeDistributed(Layer):
    """Applies ``layer`` to every time step on its own, with the same weights.

    ``[batch, time, …]`` → ``[batch, time, *output of the layer]``. A mask passes through.

    Raises:
        ArgumentTypeError: (a TypeError) not a layer.
        ArgumentError: (a ValueError) inputs of rank below 3, or a stateful layer.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import LSTM, TimeDistributed
    >>> TimeDistributed(LSTM(4))(jnp.ones((2, 6, 5, 3))).shape
    (2, 6, 4)
    """

    supports_masking = True

    def __init__(self, layer: Layer, **options: Any):
        if not isinstance(layer, Layer):
            raise ArgumentTypeError(
                f"`layer` must be a Layer, got {type(layer).__name__}: wrap a function in a Layer "
                "with a `call` method."
            )
        super().__init__(**options)
        self.layer = layer

    @property
    def input_dtype(self) -> str:
        """That of the layer."""
        return self.layer.input_dtype

    def build(self, input_shape: Any) -> None:
        """Build the layer for one step."""
        if not self.layer.built:
            if self.layer._dtype is None:
                self.layer._dtype = self._dtype
            self.layer.build(self._step_shape(input_shape))
            self.layer.built = True
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        """The outputs of all steps."""
        self._step_shape(inputs.shape)
        options = {}
        if training is not None and accepts(self.layer.call, "training"):
            options["training"] = training

        def step(x: Any) -> Any:
            with isolated(f"layer `{self.name}`"):
                return self.layer._call_arrays(x, options)

        return jax.vmap(step, in_axes=1, out_axes=1)(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape of the layer with the time dimension put in."""
        batch, time, *_ = tuple(input_shape)
        shapes = self.layer.compute_output_shape(self._step_shape(input_shape))
        if isinstance(shapes, list):
            return [(batch, time, *shape[1:]) for shape in shapes]
        return (batch, time, *shapes[1:])

    def get_config(self) -> dict[str, Any]:
        """The configuration of the layer."""
        return super().get_config() | {"layer": to_config(self.layer)}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        return cls(**{**config, "layer": from_config(config["layer"], custom_objects)})

    def _step_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shape = tuple(input_shape)
        if len(shape) < 3:
            raise ArgumentError(
                f"layer `{self.name}` needs inputs of rank at least 3 (batch, time, …), got shape "
                f"{shape}."
            )
        return (shape[0], *shape[2:])
