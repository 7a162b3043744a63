"""What models have in common: layers in order, their states, and a summary."""

from typing import Any

import jax

from recurrent_iree_runtime import LayerAttributeError

from ._base import Layer
from ._rnn_states import KeepsStates


class Container(Layer):
    """A layer made of layers."""

    supports_masking = True
    layers: list[Layer]

    @property
    def stateful(self) -> bool:
        """Whether any layer keeps states between calls."""
        return any(getattr(layer, "stateful", False) for layer in self.layers)

    @property
    def states(self) -> list[Any]:
        """The stored states of all layers, flat."""
        return [variable.value for variable in self.state_variables]

    def reset_states(self) -> None:
        """Set the stored states of every stateful layer to zeros.

        Raises:
            LayerAttributeError: (an AttributeError) no layer is stateful.
        """
        if not self.stateful:
            raise LayerAttributeError(
                f"`reset_states`: no layer of `{self.name}` is stateful: make one with "
                "stateful=True."
            )
        for layer in self.layers:
            if getattr(layer, "stateful", False) and isinstance(layer, KeepsStates | Container):
                layer.reset_states()

    def get_layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            LayerAttributeError: (an AttributeError) there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise LayerAttributeError(
            f"`{self.name}` has no layer {name!r}: it has "
            f"{', '.join(layer.name for layer in self.layers) or 'none'}."
        )

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """See `Layer.get_losses_for`; losses inside depend on the model's own inputs too."""
        if inputs is not None and self._was_called_with(inputs):
            return self._conditional("_call_losses")
        return super().get_losses_for(inputs)

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """See `Layer.get_updates_for`; updates inside depend on the model's own inputs too."""
        if inputs is not None and self._was_called_with(inputs):
            return self._conditional("_call_updates")
        return super().get_updates_for(inputs)

    def summary(self) -> str:
        """A table of the layers: name, output shape, number of weights; also printed."""
        rows: list[tuple[str, ...]] = [("layer", "type", "output shape", "params")]
        for layer in self.layers:
            rows.append((layer.name, type(layer).__name__, _shape(layer), _count(layer)))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * (sum(widths) + 6))
        lines.append(f"total params: {_count(self)}")
        text = "\n".join(lines)
        print(text)
        return text

    def _keep(self, kind: str, sources: list[Any], items: list[Any]) -> None:
        self._sources = sources
        super()._keep(kind, sources, items)

    def _was_called_with(self, inputs: Any) -> bool:
        known = [*self.__dict__.get("_sources", []), *self._model_inputs()]
        return any(leaf is source for leaf in jax.tree.leaves(inputs) for source in known)

    def _model_inputs(self) -> list[Any]:
        return []


def _shape(layer: Layer) -> str:
    nodes = layer._nodes()
    return str(layer.get_output_shape_at(len(nodes) - 1)) if nodes else "?"


def _count(layer: Layer) -> str:
    return str(layer.count_params()) if layer.built else "not built"
