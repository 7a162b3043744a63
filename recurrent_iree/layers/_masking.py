"""A mask from the values of a sequence."""

from typing import Any

import jax.numpy as jnp

from ._base import Layer
from ._registry import register


@register
class Masking(Layer):
    """Masks the steps at which every feature equals ``mask_value``.

    ``[batch, time, …, features]`` → the same, with zeros at masked steps; the output carries the
    mask ``[batch, time, …]``, which recurrent layers obey.

    >>> import numpy as np
    >>> from recurrent_iree.layers import Masking
    >>> Masking(-1.0).compute_mask(np.array([[[2.0, -1.0], [-1.0, -1.0]]])).tolist()
    [[True, False]]
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **options: Any):
        super().__init__(**options)
        self.mask_value = mask_value

    def call(self, inputs: Any) -> Any:
        """The inputs, zeros at masked steps."""
        return jnp.where(self.compute_mask(inputs)[..., None], inputs, 0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where some feature differs from `mask_value`."""
        return jnp.any(jnp.asarray(inputs) != self.mask_value, axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``input_shape``."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"mask_value": self.mask_value}
