"""Layers that make their own cell: one constructor for `LSTM`, `GRU` and `SimpleRNN`."""

from collections.abc import Mapping
from typing import Any, Self

from ._rnn import RNN

_OF_LAYER = ("name", "trainable", "dtype", "batch_input_shape")


class CellLayer(RNN):
    """An `RNN` whose configuration is that of its cell and its own, side by side."""

    @property
    def units(self) -> int:
        """The size of the output."""
        return self.cell.units

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        cell = {k: v for k, v in self.cell.get_config().items() if k not in _OF_LAYER}
        layer = super().get_config()
        del layer["cell"]
        return cell | layer

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        return cls(**config)
