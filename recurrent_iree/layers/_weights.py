"""The part of `Layer` that owns variables: its own and those of the layers inside it."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._initializers import get_initializer
from ._names import number_duplicates, snake_case
from ._random import next_key
from ._regularizers import get_regularizer
from ._variable import Variable

# Attributes of the base class that never hold sublayers and change from call to call.
BOOKKEEPING = frozenset(
    {"_inbound_nodes", "_call_losses", "_call_updates", "_programs", "_sources", "_adding"}
)


class OwnsWeights:
    """Weights, stored states and sublayers.

    A variable that is set as an attribute reads as its current array: after
    ``self.kernel = self.add_weight(…)``, ``self.kernel`` is an array that every JAX function takes.
    """

    name: str
    built: bool
    _dtype: str | None
    _explicit_name: bool

    def __setattr__(self, attribute: str, value: Any) -> None:
        held = self.__dict__.setdefault("_held", {})
        if isinstance(value, Variable):
            self.__dict__.pop(attribute, None)
            held[attribute] = value
        elif attribute in held and value is not None:
            held[attribute].assign(value)
        else:
            held.pop(attribute, None)
            object.__setattr__(self, attribute, value)

    def __getattr__(self, attribute: str) -> Any:
        held = self.__dict__.get("_held", {})
        if attribute in held:
            return held[attribute].value
        # A property that raised AttributeError arrives here too: let it raise again.
        return object.__getattribute__(self, attribute)

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts without the record of calls, which cannot be copied."""
        return {k: v for k, v in self.__dict__.items() if k not in BOOKKEEPING}

    def add_weight(
        self,
        name: str = "weight",
        shape: tuple[int, ...] = (),
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool = True,
    ) -> Any:
        """Create a `Variable` that this layer owns.

        Args:
            name: unique within the layer.
            shape: sizes, all known.
            dtype: default: the dtype of the layer if that is floating, else float32.
            initializer: a name, or ``(key, shape, dtype) -> array``; default glorot_uniform.
            regularizer: "l1", "l2" or a function of the weight to a scalar loss.
            trainable: False for a weight that training leaves alone.

        Raises:
            ArgumentError: (a ValueError) an unknown or negative size, or an unknown name.
        """
        if any(size is None or int(size) < 0 for size in shape):
            raise ArgumentError(
                f"weight `{name}` of layer `{self.name}` needs known sizes, got shape "
                f"{tuple(shape)}: give the input shape with all feature sizes."
            )
        dtype = self._weight_dtype() if dtype is None else dtype
        draw = get_initializer(initializer)
        with jax.ensure_compile_time_eval():
            value = draw(next_key(), tuple(int(size) for size in shape), jnp.dtype(dtype))
        variable = Variable(value, name, trainable, draw, get_regularizer(regularizer))
        self._own_variables().append(variable)
        return variable

    def add_state(self, name: str, value: Any) -> Variable:
        """Create a stored state: it is kept apart from the weights."""
        variable = Variable(value, name, trainable=False)
        self.__dict__.setdefault("_states_owned", []).append(variable)
        return variable

    @property
    def weights(self) -> list[Variable]:
        """All weights: its own (trainable ones first), then those of each layer inside it."""
        own = self._own_variables()
        own = [v for v in own if v.trainable] + [v for v in own if not v.trainable]
        return own + [variable for layer in self._sublayers() for variable in layer.weights]

    @property
    def variables(self) -> list[Variable]:
        """The same as `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes: none while `trainable` is False."""
        if not self.__dict__.get("trainable", True):
            return []
        own = [variable for variable in self._own_variables() if variable.trainable]
        return own + [v for layer in self._sublayers() for v in layer.trainable_weights]

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone: all of them while `trainable` is False."""
        trainable = {id(variable) for variable in self.trainable_weights}
        return [variable for variable in self.weights if id(variable) not in trainable]

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The same as `non_trainable_weights`."""
        return self.non_trainable_weights

    @property
    def weight_names(self) -> list[str]:
        """One unique name per weight, such as ``lstm/kernel``, in the order of `weights`.

        The parts are explicit layer names, else class names, numbered among siblings: the names do
        not depend on what else the process created.
        """
        return number_duplicates(self._paths("weights"))

    @property
    def state_variables(self) -> list[Variable]:
        """The stored states of this layer and of the layers inside it."""
        own = list(self.__dict__.get("_states_owned", []))
        return own + [v for layer in self._sublayers() for v in layer.state_variables]

    @property
    def state_names(self) -> list[str]:
        """One unique name per stored state, in the order of `state_variables`."""
        return number_duplicates(self._paths("states"))

    def get_weights(self) -> list[np.ndarray]:
        """NumPy copies of the weights."""
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Replace the weights by arrays of the same number and shapes.

        Raises:
            ArgumentError: (a ValueError) wrong number, or a wrong shape; nothing is changed then.
            ArgumentTypeError: (a TypeError) no list.
        """
        if not isinstance(weights, list | tuple):
            raise ArgumentTypeError(
                f"`set_weights` takes a list of arrays, got {type(weights).__name__}."
            )
        variables = self.weights
        if len(weights) != len(variables):
            raise ArgumentError(
                f"`set_weights` got {len(weights)} arrays, but layer `{self.name}` has "
                f"{len(variables)} weights: {', '.join(self.weight_names) or 'it is not built'}."
            )
        for name, variable, value in zip(self.weight_names, variables, weights, strict=True):
            if tuple(np.shape(value)) != variable.shape:
                raise ArgumentError(
                    f"`set_weights`: weight `{name}` has shape {variable.shape}, got an array of "
                    f"shape {tuple(np.shape(value))}."
                )
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)

    def count_params(self) -> int:
        """The number of scalars in the weights.

        Raises:
            ArgumentError: (a ValueError) the layer is not built.
        """
        if not self.__dict__.get("built", False):
            raise ArgumentError(
                f"layer `{self.name}` is not built, so its weights are not defined: call it, or "
                "call `build(input_shape)`, before `count_params()`."
            )
        return sum(math.prod(variable.shape) for variable in self.weights)

    def _weight_dtype(self) -> Any:
        dtype = self.__dict__.get("_dtype")
        if dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
            return dtype
        return "float32"

    def _own_variables(self) -> list[Variable]:
        return self.__dict__.setdefault("_variables_owned", [])

    def _sublayers(self) -> list[Any]:
        """The layers that are attributes, directly or in lists, tuples and dictionaries."""
        found: dict[int, Any] = {}
        for attribute, value in self.__dict__.items():
            if attribute not in BOOKKEEPING:
                for layer in _layers_in(value):
                    found.setdefault(id(layer), layer)
        return list(found.values())

    def _local_name(self) -> str:
        explicit = self.__dict__.get("_explicit_name", False)
        return self.name if explicit else snake_case(type(self).__name__)

    def _paths(self, kind: str) -> list[str]:
        return [f"{self._local_name()}/{path}" for path in self._inner_paths(kind)]

    def _inner_paths(self, kind: str) -> list[str]:
        if kind == "weights":
            own = self._own_variables()
            own = [v for v in own if v.trainable] + [v for v in own if not v.trainable]
        else:
            own = self.__dict__.get("_states_owned", [])
        paths = [variable.name for variable in own]
        layers = self._sublayers()
        names = number_duplicates(layer._local_name() for layer in layers)
        for name, layer in zip(names, layers, strict=True):
            paths += [f"{name}/{path}" for path in layer._inner_paths(kind)]
        return paths


def _layers_in(value: Any) -> Iterator[OwnsWeights]:
    if isinstance(value, OwnsWeights):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _layers_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _layers_in(item)
