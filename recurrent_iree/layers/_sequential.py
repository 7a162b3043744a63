"""`Sequential`: layers one after the other."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._base import Layer, accepts
from ._container import Container
from ._masks import masks_of
from ._node import SymbolicTensor
from ._registry import from_config, register, to_config
from ._scope import open_scope
from ._symbolic import Input


@register
class Sequential(Container):
    """Layers one after the other; masks travel from layer to layer.

    Args:
        layers: layers, or an `Input` first, which gives the input shape.
        name: default ``sequential``.

    It builds itself at the first call, or at once if the input shape is known: from `Input`, or
    from ``batch_input_shape`` (or ``input_shape``) of the first layer.

    Raises:
        ArgumentTypeError: (a TypeError) something that is no layer.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import GRU, Dense, Input, Sequential
    >>> model = Sequential([Input((None, 3)), GRU(8), Dense(2)])
    >>> model(jnp.ones((4, 6, 3))).shape, model.weight_names[:2]
    ((4, 2), ['sequential/gru/kernel', 'sequential/gru/recurrent_kernel'])
    """

    def __init__(self, layers: Iterable[Any] = (), **options: Any):
        super().__init__(**options)
        self.layers: list[Layer] = []
        self._input: SymbolicTensor | None = None
        self._output: Any = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer.

        Raises:
            ArgumentTypeError: (a TypeError) not a layer, or an `Input` that is not the first.
        """
        if isinstance(layer, SymbolicTensor):
            if self.layers or self._input is not None:
                raise ArgumentTypeError("`Sequential`: an `Input` can only come first.")
            self._input = self._output = layer
            return
        if not isinstance(layer, Layer):
            raise ArgumentTypeError(
                f"`Sequential` takes layers, got {type(layer).__name__}: wrap a function in a "
                "Layer with a `call` method."
            )
        shape = layer._batch_input_shape
        if not self.layers and self._input is None and shape is not None:
            self._input = self._output = SymbolicTensor(shape, layer.input_dtype, "input")
        self.layers.append(layer)
        if self._output is not None:
            self._output = layer(self._output)
        self.built = self._output is not None

    @property
    def input(self) -> Any:
        """The `Input` that the model was made from, else as `Layer.input`."""
        return super().input if self._input is None else self._input

    @property
    def output(self) -> Any:
        """What the layers make of `input`, else as `Layer.output`."""
        return super().output if self._input is None else self._output

    def build(self, input_shape: Any) -> None:
        """Build every layer for the output of the one before.

        Raises:
            ArgumentError: (a ValueError) there are no layers.
        """
        if not self.layers:
            raise ArgumentError(f"`{self.name}` has no layers: add some before building it.")
        tensor = SymbolicTensor(tuple(input_shape), self.dtype or "float32", "input")
        for layer in self.layers:
            tensor = layer(tensor)
        self.built = True

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """The output of the last layer."""
        return self._run(inputs, mask, training)[0]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the last layer gives to its output."""
        with open_scope({variable: variable.value for variable in self.state_variables}):
            return self._run(self._as_arrays(inputs), mask, None)[1]

    def get_config(self) -> dict[str, Any]:
        """The configurations of the layers, and the input shape if it is known."""
        config = super().get_config() | {"layers": [to_config(layer) for layer in self.layers]}
        if self._input is not None:
            config["batch_input_shape"] = self._input.shape
            config["input_dtype"] = self._input.dtype
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        config = dict(config)
        layers = [from_config(layer, custom_objects) for layer in config.pop("layers")]
        shape, dtype = config.pop("batch_input_shape", None), config.pop("input_dtype", "float32")
        first = [] if shape is None else [Input(batch_shape=shape, dtype=dtype)]
        return cls([*first, *layers], **config)

    def _run(self, inputs: Any, mask: Any, training: Any) -> tuple[Any, Any]:
        mask = masks_of(inputs) if mask is None else mask
        for layer in self.layers:
            options: dict[str, Any] = {} if mask is None else {"mask": mask}
            if training is not None and accepts(layer.call, "training"):
                options["training"] = training
            inputs, mask, _ = layer._call_masked(inputs, options)
        return inputs, mask

    def _output_masks(self, inputs: Any, masks: Any, outputs: Any) -> Any:
        return masks_of(outputs)

    def _model_inputs(self) -> list[Any]:
        return [] if self._input is None else [self._input]
