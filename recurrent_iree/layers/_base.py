"""`Layer`: a function that owns its weights."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree._trees import as_arrays
from recurrent_iree_runtime import ArgumentTypeError

from ._losses import KeepsLosses
from ._masks import masks_of, read_masks, set_masks
from ._names import unique_name
from ._node import InboundNodes, SymbolicTensor, contains_symbolic
from ._pure import PureFace
from ._regularizers import get_regularizer
from ._scope import current_scope, is_traced
from ._shape import read_dtype, read_sizes
from ._symbolic import abstract_build, abstract_shape, symbolic_call

_nested: ContextVar[bool] = ContextVar("recurrent_iree_layers_nested", default=False)


class Layer(PureFace, InboundNodes, KeepsLosses):
    """Base class of layers.

    A subclass creates its weights in ``build(input_shape)`` with `add_weight`, and computes in
    ``call(inputs, **options)``. Options named ``mask`` and ``training`` are filled in.

    Args:
        name: default: the class name in snake_case, numbered.
        trainable: whether `trainable_weights` lists the weights.
        dtype: of the weights; floating inputs are cast to it. Default: that of the first input.
        activity_regularizer: "l1", "l2" or a function; one loss per returned array.
        input_shape, batch_input_shape, batch_size, input_dim, input_length: the shape of the inputs
            without or with the batch, from which a `Sequential` builds itself.
        weights: a list of arrays for `set_weights` as soon as the layer is built.

    Raises:
        ArgumentTypeError: (a TypeError) an unknown keyword argument.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import Layer
    >>> class Scale(Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight("factor", input_shape[-1:], initializer="ones")
    ...     def call(self, inputs):
    ...         return jnp.multiply(inputs, self.factor)
    >>> layer = Scale()
    >>> layer(jnp.ones((2, 3))).shape, layer.count_params()
    ((2, 3), 3)
    """

    supports_masking = False

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        **options: Any,
    ):
        self.name = name or unique_name(type(self).__name__)
        self._explicit_name = name is not None
        self.trainable = trainable
        self._dtype = None if dtype is None else read_dtype(dtype)
        self._casts = dtype is not None
        self.activity_regularizer = get_regularizer(activity_regularizer)
        self.built = False
        self._batch_input_shape = self._read_input_shape(options)
        self._first_weights = options.pop("weights", None)
        if options:
            raise ArgumentTypeError(
                f"layer `{self.name}` ({type(self).__name__}) does not know the keyword argument "
                f"{', '.join(map(repr, options))}."
            )

    @property
    def dtype(self) -> str | None:
        """The dtype of the weights; None before the first call unless given."""
        return self._dtype

    @property
    def input_dtype(self) -> str:
        """The dtype of inputs that are only known by their shape."""
        return self._dtype or "float32"

    def build(self, input_shape: Any) -> None:
        """Create the weights for inputs of ``input_shape`` (batch included, None where unknown)."""
        if any(not layer.built for layer in self._sublayers()):
            # The call below must not build again, nor leave a half-built layer that seems built.
            self.built = True
            try:
                abstract_build(self, input_shape)
            finally:
                self.built = all(layer.built for layer in self._sublayers())
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from ``(inputs, **options)``; subclasses say how."""
        return args[0]

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the layer on arrays, or on symbolic tensors from `Input`.

        The weights are created at the first call. A stateful layer stores its new states; inside
        a JAX transformation it cannot (use `stateless_call`).
        """
        kwargs = _bind(type(self), args, kwargs)
        if contains_symbolic((inputs, kwargs)):
            return symbolic_call(self, inputs, kwargs)
        return self._call_arrays(inputs, kwargs)

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The same as calling the layer."""
        return self(inputs, *args, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the outputs, given that of the inputs.

        Raises:
            ArgumentTypeError: (a TypeError) a mask, but this layer does not support masking.
        """
        if self.supports_masking:
            return mask
        if any(item is not None for item in jax.tree.leaves(mask)):
            raise ArgumentTypeError(
                f"layer `{self.name}` ({type(self).__name__}) does not support masking, but its "
                "input has a mask: set supports_masking = True in its class to hand it on."
            )
        return None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs (a tuple, or a list of them); None where unknown."""
        return abstract_shape(self, input_shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments from which `from_config` makes an equal layer."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype,
        }
        if self._batch_input_shape is not None:
            config["batch_input_shape"] = self._batch_input_shape
        return config

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """A new layer from what `get_config` returned; ``config`` is not changed.

        ``custom_objects`` maps class names inside the configuration to your own classes.
        """
        return cls(**config)

    def _read_input_shape(self, options: dict[str, Any]) -> tuple[int | None, ...] | None:
        batch_shape = options.pop("batch_input_shape", None)
        shape = options.pop("input_shape", None)
        dim = options.pop("input_dim", None)
        batch_size = options.pop("batch_size", None)
        if batch_shape is None:
            if shape is None and dim is not None:
                shape = (dim,) if isinstance(dim, int) else tuple(dim)
            batch_shape = None if shape is None else (batch_size, *shape)
        return None if batch_shape is None else read_sizes(batch_shape, f"layer `{self.name}`")

    def _call_arrays(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        return self._call_masked(inputs, kwargs)[0]

    def _call_masked(self, inputs: Any, kwargs: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
        """The outputs, their masks, and the losses of this call (not of layers inside)."""
        sources, masks = inputs, read_masks(kwargs.get("mask"))
        masks = masks_of(inputs) if masks is None else masks
        inputs = self._as_arrays(inputs)
        self._prepare(inputs)
        nested = _nested.set(True)
        try:
            with self._collecting() as losses:
                outputs = self.call(inputs, **self._with_mask(kwargs, masks))
        finally:
            _nested.reset(nested)
        losses += self._regularize(outputs)
        output_masks = self._output_masks(inputs, masks, outputs)
        if not any(a is b for a in jax.tree.leaves(outputs) for b in jax.tree.leaves(inputs)):
            set_masks(outputs, output_masks)
        leaves = jax.tree.leaves(sources)
        self._keep_losses(leaves, losses)
        if not is_traced(outputs) and current_scope() is None:
            self._keep_update(leaves)
            if not _nested.get():
                kept = all(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves)
                self._record_arrays(sources if kept else inputs, masks, outputs, output_masks)
        return outputs, output_masks, losses

    def _output_masks(self, inputs: Any, masks: Any, outputs: Any) -> Any:
        return self.compute_mask(inputs, masks)

    def _as_arrays(self, inputs: Any) -> Any:
        leaves = jax.tree.leaves(inputs)
        if leaves and not any(hasattr(leaf, "shape") for leaf in leaves):
            inputs = np.asarray(inputs)
        return jax.tree.map(self._cast, as_arrays(inputs, "inputs"))

    def _cast(self, array: Any) -> Any:
        if self._casts and jnp.issubdtype(array.dtype, jnp.floating):
            dtype = jnp.dtype(self._weight_dtype())
            return array if array.dtype == dtype else array.astype(dtype)
        return array

    def _with_mask(self, kwargs: dict[str, Any], masks: Any) -> dict[str, Any]:
        kwargs = {key: value for key, value in kwargs.items() if key != "mask"}
        given = any(mask is not None for mask in jax.tree.leaves(masks))
        return {**kwargs, "mask": masks} if given and accepts(self.call, "mask") else kwargs

    def _prepare(self, inputs: Any) -> None:
        """Learn dtype and shapes from the first inputs, and build."""
        leaves = jax.tree.leaves(inputs, is_leaf=lambda leaf: isinstance(leaf, SymbolicTensor))
        if self._dtype is None and leaves:
            self._dtype = str(leaves[0].dtype)
        if not self.built:
            shapes = jax.tree.map(
                lambda leaf: tuple(leaf.shape),
                inputs,
                is_leaf=lambda leaf: isinstance(leaf, SymbolicTensor),
            )
            with jax.ensure_compile_time_eval():
                self.build(shapes)
            self.built = True
        self._take_first_weights()

    def _take_first_weights(self) -> None:
        """Set the weights that the constructor was given, once the layer is built."""
        given, self._first_weights = self._first_weights, None
        if given is not None:
            self.set_weights(given)


def accepts(function: Callable[..., Any], argument: str) -> bool:
    """Whether a call method takes an argument of this name."""
    return argument in _parameters(getattr(function, "__func__", function))


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _bind(cls: type[Layer], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Positional arguments after the inputs, by the names that `call` gives them."""
    if not args:
        return kwargs
    names = _parameters(cls.call)[2:]
    if len(args) > len(names):
        raise ArgumentTypeError(
            f"{cls.__name__}.call takes {len(names)} arguments after the inputs, got {len(args)}."
        )
    return {**dict(zip(names, args, strict=False)), **kwargs}
