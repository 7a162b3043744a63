"""Integers to vectors."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from recurrent_iree_runtime import ArgumentError

from ._base import Layer
from ._cell_base import read_units
from ._initializers import get_initializer, initializer_config
from ._registry import register, to_config
from ._regularizers import get_regularizer
from ._scope import is_traced


@register
class Embedding(Layer):
    """A trainable row for every integer below ``input_dim``.

    Args:
        input_dim: the number of rows.
        output_dim: the size of a row.
        embeddings_initializer, embeddings_regularizer: of the rows.
        mask_zero: treat 0 as padding: the output carries the mask ``inputs != 0``, which recurrent
            layers obey.
        input_length: the number of steps, if constant.

    ``[batch, time]`` of integers → ``[batch, time, output_dim]``.

    Raises:
        ArgumentError: (a ValueError) an integer outside ``[0, input_dim)``. Inside a JAX
            transformation it is clipped to that range instead.

    >>> import numpy as np
    >>> from recurrent_iree.layers import LSTM, Embedding, Sequential
    >>> model = Sequential([Embedding(10, 4, mask_zero=True), LSTM(8)])
    >>> model(np.array([[3, 1, 0], [2, 0, 0]])).shape
    (2, 8)
    """

    supports_masking = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        input_length: int | None = None,
        **options: Any,
    ):
        if input_length is not None:
            options.setdefault("input_shape", (input_length,))
        super().__init__(**{"dtype": "float32", **options})
        self.input_dim = read_units(input_dim, "input_dim")
        self.output_dim = read_units(output_dim, "output_dim")
        self.embeddings_initializer = get_initializer(embeddings_initializer)
        self.embeddings_regularizer = get_regularizer(embeddings_regularizer)
        self.mask_zero = mask_zero

    @property
    def input_dtype(self) -> str:
        """Embeddings take integers."""
        return "int32"

    def build(self, input_shape: Any) -> None:
        """Create embeddings ``[input_dim, output_dim]``."""
        self.embeddings = self.add_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The rows of ``inputs``."""
        ids = inputs if jnp.issubdtype(inputs.dtype, jnp.integer) else inputs.astype(jnp.int32)
        if not is_traced(ids) and ids.size:
            low, high = int(np.min(ids)), int(np.max(ids))
            if low < 0 or high >= self.input_dim:
                raise ArgumentError(
                    f"layer `{self.name}` got integers from {low} to {high}, but `input_dim` is "
                    f"{self.input_dim}: expected 0 to {self.input_dim - 1}."
                )
        # IREE 3.13 reads outside the table where StableHLO says that a gather clamps.
        ids = jnp.clip(ids, 0, self.input_dim - 1)
        return jnp.take(self.embeddings, ids, axis=0, mode="clip")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """``inputs != 0`` if `mask_zero`, else None."""
        return jnp.asarray(inputs) != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """``(*input_shape, output_dim)``."""
        return (*tuple(input_shape), self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializer_config(self.embeddings_initializer),
            "embeddings_regularizer": to_config(self.embeddings_regularizer),
            "mask_zero": self.mask_zero,
        }
