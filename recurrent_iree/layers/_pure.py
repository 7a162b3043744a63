"""The pure functional face of a layer."""

from typing import Any

import jax
import numpy as np

from recurrent_iree_runtime import ArgumentError, LayerRuntimeError

from ._random import next_key
from ._scope import open_scope
from ._variable import Variable
from ._weights import OwnsWeights


class PureFace(OwnsWeights):
    """Calls in which weights and states go in and new states come out; nothing is stored."""

    def stateless_call(
        self,
        weights: Any,
        states: Any,
        inputs: Any,
        *args: Any,
        return_losses: bool = False,
        key: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Call the layer as a pure function; it works under jit, grad, vmap and scan.

        Args:
            weights: arrays in the order of `get_weights()`.
            states: arrays in the order of `state_variables` (`[]` if the layer is not stateful);
                any batch size that fits the inputs.
            inputs, *args, **kwargs: as for calling the layer.
            return_losses: also return the list of losses (of weights and of this call).
            key: a JAX random key, for calls that draw random numbers.

        Returns:
            ``(outputs, new_states)``, or ``(outputs, new_states, losses)``.

        Raises:
            LayerRuntimeError: (a RuntimeError) the layer is not built.
            ArgumentError: (a ValueError) wrong number or shapes of weights or states.

        >>> import jax, jax.numpy as jnp
        >>> from recurrent_iree.layers import LSTM
        >>> layer = LSTM(4)
        >>> layer.build((None, None, 3))
        >>> weights = [v.value for v in layer.weights]
        >>> def loss(weights, x):
        ...     y, _ = layer.stateless_call(weights, [], x)
        ...     return jnp.sum(y**2)
        >>> [g.shape for g in jax.jit(jax.grad(loss))(weights, jnp.ones((2, 5, 3)))]
        [(3, 16), (4, 16), (16,)]
        """
        if not self.__dict__.get("built", False):
            raise LayerRuntimeError(
                f"layer `{self.name}` is not built, so `stateless_call` does not know its weights: "
                "call `build(input_shape)` or the layer itself first."
            )
        values = dict(_pair("weights", self.weights, self.weight_names, weights, self.name, 0))
        values |= dict(
            _pair("states", self.state_variables, self.state_names, states, self.name, 1)
        )
        state_variables = self.state_variables
        with open_scope(values, key) as scope:
            scope.pure = True
            outputs = self(inputs, *args, **kwargs)  # type: ignore[operator]
            new_states = [variable.value for variable in state_variables]
            if not return_losses:
                return outputs, new_states
            losses = self._weight_losses() + scope.losses  # type: ignore[attr-defined]
            return outputs, new_states, losses

    def init_weights(self, key: Any = None, input_shape: Any = None) -> list[jax.Array]:
        """New random weights from each weight's initializer; the layer keeps its own.

        Args:
            key: a JAX random key (the same key gives the same weights); default: the next key of
                the process.
            input_shape: builds the layer first if it is not built.

        Raises:
            LayerRuntimeError: (a RuntimeError) not built and no ``input_shape``.
        """
        if not self.__dict__.get("built", False):
            if input_shape is None:
                raise LayerRuntimeError(
                    f"layer `{self.name}` is not built: give `input_shape` to `init_weights`."
                )
            self.build(input_shape)  # type: ignore[attr-defined]
        key = next_key() if key is None else key
        return [
            variable.initializer(jax.random.fold_in(key, i), variable.shape, variable.dtype)
            if variable.initializer is not None
            else variable.value
            for i, variable in enumerate(self.weights)
        ]


def _pair(
    argument: str, variables: list[Variable], names: list[str], values: Any, layer: str, free: int
) -> list[tuple[Variable, Any]]:
    """Pair variables with values after checking the shapes from dimension ``free`` on."""
    values = list(values)
    if len(values) != len(variables):
        raise ArgumentError(
            f"`{argument}` has {len(values)} arrays, but layer `{layer}` has {len(variables)}: "
            f"{', '.join(names) or 'none'}."
        )
    for variable, name, value in zip(variables, names, values, strict=True):
        shape = tuple(np.shape(value))
        if len(shape) != len(variable.shape) or shape[free:] != variable.shape[free:]:
            raise ArgumentError(
                f"`{argument}`: `{name}` of layer `{layer}` has shape {variable.shape}, got "
                f"{shape}."
            )
    return list(zip(variables, values, strict=True))
