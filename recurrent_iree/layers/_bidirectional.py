"""A recurrent layer run in both directions."""

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._container import Container
from ._registry import from_config, register, to_config
from ._rnn import RNN

MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


@register
class Bidirectional(Container):
    """Runs a recurrent layer forwards and a copy of it backwards, and merges the outputs.

    Args:
        layer: an `RNN` (`LSTM`, …); it becomes the forward layer.
        merge_mode: "concat" (last axis), "sum", "ave", "mul", or None for a list of both.
        backward_layer: default: a new layer of the same configuration that goes backwards.

    Padding-aware: under a mask the backward direction starts at the last valid step of each row,
    wherever that is, and with ``return_sequences`` its outputs are put back in time order, so that
    both outputs of a step belong to that step. The backward output of the padding after the last
    valid step is zeros.

    With ``return_state`` the states of both directions follow the output, forward ones first;
    ``initial_state`` is a list in that order. ``reset`` marks the first step of each segment, for
    both directions.

    Raises:
        ArgumentTypeError: (a TypeError) not a recurrent layer.
        ArgumentError: (a ValueError) unknown ``merge_mode``, or layers that do not fit together.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import GRU, Bidirectional
    >>> Bidirectional(GRU(4, return_sequences=True))(jnp.ones((2, 5, 3))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        backward_layer: RNN | None = None,
        **options: Any,
    ):
        for argument, value in (("layer", layer), ("backward_layer", backward_layer or layer)):
            if not isinstance(value, RNN):
                raise ArgumentTypeError(
                    f"`{argument}` must be a recurrent layer, got {type(value).__name__}."
                )
        if merge_mode is not None and merge_mode not in MERGES:
            raise ArgumentError(
                f"`merge_mode` must be one of {', '.join(MERGES)} or None, got {merge_mode!r}."
            )
        if layer._batch_input_shape is not None:
            options.setdefault("batch_input_shape", layer._batch_input_shape)
        super().__init__(**options)
        self.merge_mode = merge_mode
        self.forward_layer = layer
        self._own_backward = backward_layer is None
        self.backward_layer = _mirrored(layer) if backward_layer is None else backward_layer
        self.layers = [self.forward_layer, self.backward_layer]
        _check_fit(self.forward_layer, self.backward_layer)

    @property
    def return_sequences(self) -> bool:
        """As of the layer."""
        return self.forward_layer.return_sequences

    @property
    def return_state(self) -> bool:
        """As of the layer."""
        return self.forward_layer.return_state

    def build(self, input_shape: Any) -> None:
        """Build both layers for ``[batch, time, …]``."""
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                if layer._dtype is None:
                    layer._dtype = self._dtype
                layer.build(tuple(shape))
        self.built = True

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        reset: Any = None,
    ) -> Any:
        """The merged outputs, and the states of both directions with ``return_state``."""
        if isinstance(inputs, list | tuple):
            inputs, initial_state = inputs[0], list(inputs[1:]) or initial_state
            mask = mask[0] if isinstance(mask, list | tuple) else mask
        states = self._halves(initial_state)
        results = []
        layers = (self.forward_layer, self.backward_layer)
        for layer, state, back in zip(layers, states, (False, True), strict=True):
            options = {"mask": mask, "initial_state": state, "constants": constants}
            if training is not None:
                options["training"] = training
            if reset is not None:
                options["reset"] = self._last_of_segments(reset) if back else reset
            result = layer(inputs, **{k: v for k, v in options.items() if v is not None})
            results.append(result if self.return_state else [result])
        (forward, *forward_states), (backward, *backward_states) = results
        if self.return_sequences:
            backward = jnp.flip(backward, self._time_axis())
        merged = [forward, backward]
        if self.merge_mode is not None:
            merged = [MERGES[self.merge_mode](forward, backward)]
        outputs = [*merged, *forward_states, *backward_states]
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask for every output if `return_sequences`, None for states."""
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        outputs = [mask if self.return_sequences else None] * (1 if self.merge_mode else 2)
        if self.return_state:
            outputs += [None] * (2 * len(self.forward_layer._shapes()))
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the merged output (or a list of both), then of all states."""
        forward, *forward_states = _listed(self.forward_layer.compute_output_shape(input_shape))
        backward, *backward_states = _listed(self.backward_layer.compute_output_shape(input_shape))
        if self.merge_mode == "concat":
            merged = [(*forward[:-1], forward[-1] + backward[-1])]
        else:
            merged = [forward] if self.merge_mode else [forward, backward]
        outputs = [*merged, *forward_states, *backward_states]
        return outputs if len(outputs) > 1 else outputs[0]

    def get_config(self) -> dict[str, Any]:
        """The configurations of the layer and, if it was given, of the backward layer."""
        config = super().get_config() | {
            "layer": to_config(self.forward_layer),
            "merge_mode": self.merge_mode,
        }
        if not self._own_backward:
            config["backward_layer"] = to_config(self.backward_layer)
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        made = {
            key: from_config(config[key], custom_objects)
            for key in ("layer", "backward_layer")
            if key in config
        }
        return cls(**{**config, **made})

    def _output_masks(self, inputs: Any, masks: Any, outputs: Any) -> Any:
        return self.compute_mask(inputs, masks)

    def _inner_paths(self, kind: str) -> list[str]:
        sides = (("forward", self.forward_layer), ("backward", self.backward_layer))
        return [f"{side}/{path}" for side, layer in sides for path in layer._inner_paths(kind)]

    def _time_axis(self) -> int:
        return 0 if self.forward_layer.time_major else 1

    def _halves(self, initial_state: Any) -> tuple[Any, Any]:
        if initial_state is None:
            return None, None
        states = jax.tree.leaves(initial_state)
        count = len(self.forward_layer._shapes())
        if len(states) != 2 * count:
            raise ArgumentError(
                f"`initial_state` of layer `{self.name}` has {len(states)} arrays, expected "
                f"{2 * count}: {count} for the forward and {count} for the backward direction."
            )
        return states[:count], states[count:]

    def _last_of_segments(self, reset: Any) -> Any:
        """Going backwards, a segment starts at its last step: the one before the next reset."""
        axis = self._time_axis()
        reset = jnp.asarray(reset)
        rest = jax.lax.slice_in_dim(reset, 1, None, axis=axis)
        return jnp.concatenate(
            [rest, jnp.zeros_like(reset[:1] if axis == 0 else reset[:, :1])], axis=axis
        )


def _mirrored(layer: RNN) -> RNN:
    """A new layer of the same configuration and classes that goes the other way."""
    config = {**layer.get_config(), "go_backwards": not layer.go_backwards}
    config["name"] = f"backward_{layer.name}"
    classes = {type(item).__name__: type(item) for item in _parts(layer)}
    return type(layer).from_config(config, custom_objects=classes)


def _parts(layer: Any) -> list[Any]:
    inner = [*getattr(layer, "cells", [])]
    if hasattr(layer, "cell"):
        inner.append(layer.cell)
    return [layer, *(part for item in inner for part in _parts(item))]


def _check_fit(forward: RNN, backward: RNN) -> None:
    if forward.go_backwards == backward.go_backwards:
        raise ArgumentError(
            "`layer` and `backward_layer` go in the same direction: make one of them with "
            "go_backwards=True."
        )
    for flag in ("return_sequences", "return_state", "stateful", "time_major"):
        if getattr(forward, flag) != getattr(backward, flag):
            raise ArgumentError(
                f"`layer` has {flag}={getattr(forward, flag)} but `backward_layer` has "
                f"{flag}={getattr(backward, flag)}: they must agree."
            )


def _listed(shapes: Any) -> list[Any]:
    return shapes if isinstance(shapes, list) else [shapes]
