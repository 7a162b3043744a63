"""`Model`: a layer made of a graph of symbolic calls."""

from typing import Any

import jax

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._base import Layer, accepts
from ._container import Container
from ._masks import get_mask, masks_of
from ._node import Node, SymbolicTensor


class Model(Container):
    """A layer that computes ``outputs`` from ``inputs`` by repeating the calls between them.

    Args:
        inputs: an `Input` or a list of them.
        outputs: a symbolic tensor, or a list or dictionary of them; masks and losses are such
            tensors too.

    Raises:
        ArgumentError: (a ValueError) an output that depends on another `Input`.
        ArgumentTypeError: (a TypeError) something that is no symbolic tensor.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import GRU, Input, Model
    >>> x, start = Input((None, 3)), Input((4,))
    >>> y = GRU(4)(x, initial_state=start)
    >>> Model([x, start], y)([jnp.ones((2, 5, 3)), jnp.zeros((2, 4))]).shape
    (2, 4)
    """

    def __init__(self, inputs: Any, outputs: Any, **options: Any):
        super().__init__(**options)
        self._feeds = _tensors(inputs, "inputs")
        self._fetches = _tensors(outputs, "outputs")
        self._structure = jax.tree.structure(outputs)
        self._inputs, self._outputs = inputs, outputs
        self._order: list[Node] = []
        for tensor in self._fetches:
            self._visit(tensor)
        found: dict[int, Layer] = {id(node.layer): node.layer for node in self._order}
        self.layers = list(found.values())
        self.built = True

    @property
    def input(self) -> Any:
        """The `Input` (or list) that the model was made from."""
        return self._inputs

    @property
    def output(self) -> Any:
        """The symbolic outputs that the model was made from."""
        return self._outputs

    @property
    def input_dtype(self) -> str:
        """That of the first `Input`."""
        return self._feeds[0].dtype

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        """The outputs for arrays in place of `input`."""
        arrays = jax.tree.leaves(inputs)
        if len(arrays) != len(self._feeds):
            raise ArgumentError(
                f"model `{self.name}` takes {len(self._feeds)} inputs, got {len(arrays)}."
            )
        values = {id(feed): array for feed, array in zip(self._feeds, arrays, strict=True)}
        given = jax.tree.leaves(masks_of(inputs) if mask is None else mask, is_leaf=_is_none)
        masks = dict(zip(values, given, strict=False))
        for node in self._order:
            self._repeat(node, values, masks, training)
        return jax.tree.unflatten(self._structure, [values[id(t)] for t in self._fetches])

    def get_config(self) -> dict[str, Any]:
        """Not available: a graph of calls is code, not configuration.

        Raises:
            ArgumentTypeError: (a TypeError) always.
        """
        raise ArgumentTypeError(
            f"model `{self.name}` is a graph of calls and has no configuration: use `Sequential`, "
            "or a function that makes the model."
        )

    def _visit(self, tensor: SymbolicTensor) -> None:
        if any(tensor is feed for feed in self._feeds):
            return
        node = tensor.node
        if node is None:
            raise ArgumentError(
                f"an output of model `{self.name}` depends on {tensor!r}, which is not among "
                "`inputs`: add it."
            )
        if tensor.role == "state" or (tensor.role == "loss" and isinstance(node.layer, Container)):
            raise ArgumentError(
                f"model `{self.name}` cannot compute {tensor!r}: ask for outputs, masks, or losses "
                "of single layers."
            )
        if any(node is known for known in self._order):
            return
        for leaf in jax.tree.leaves(node.call):
            if isinstance(leaf, SymbolicTensor):
                self._visit(leaf)
        self._order.append(node)

    def _repeat(
        self, node: Node, values: dict[int, Any], masks: dict[int, Any], training: Any
    ) -> None:
        """Run one recorded call; `values` and `masks` are by the id of the symbolic tensor."""
        assert node.call is not None
        inputs, kwargs = jax.tree.map(
            lambda leaf: values[id(leaf)] if isinstance(leaf, SymbolicTensor) else leaf, node.call
        )
        given = [masks.get(id(leaf)) for leaf in jax.tree.leaves(node.call[0])]
        if kwargs.get("mask") is None and any(mask is not None for mask in given):
            several = isinstance(inputs, list) or len(given) > 1
            kwargs = {**kwargs, "mask": given if several else given[0]}
        if training is not None and accepts(node.layer.call, "training"):
            kwargs = {**kwargs, "training": training}
        outputs, output_masks, losses = node.layer._call_masked(inputs, kwargs)
        listed = output_masks if isinstance(output_masks, list | tuple) else [output_masks]
        for index, leaf in enumerate(jax.tree.leaves(outputs)):
            tensor = node.outputs[index]
            values[id(tensor)] = leaf
            mask = listed[index] if index < len(listed) else None
            masks[id(tensor)] = get_mask(leaf) if mask is None else mask
            if tensor.mask is not None:
                values.setdefault(id(tensor.mask), masks[id(tensor)])
        for tensor in self._fetches:
            if tensor.node is node and tensor.role == "loss":
                inside = node.losses - len(losses)
                if tensor.index < inside:
                    raise ArgumentError(
                        f"model `{self.name}` cannot compute {tensor!r}, the loss of a layer "
                        f"inside `{node.layer.name}`: read `losses` of the model instead."
                    )
                values[id(tensor)] = losses[tensor.index - inside]

    def _output_masks(self, inputs: Any, masks: Any, outputs: Any) -> Any:
        return masks_of(outputs)

    def _model_inputs(self) -> list[Any]:
        return self._feeds


def _tensors(tree: Any, argument: str) -> list[SymbolicTensor]:
    leaves = jax.tree.leaves(tree)
    for leaf in leaves:
        if not isinstance(leaf, SymbolicTensor):
            raise ArgumentTypeError(
                f"`{argument}` of `Model` must be symbolic tensors, got {type(leaf).__name__}: "
                "start from `Input`."
            )
    if not leaves:
        raise ArgumentTypeError(f"`{argument}` of `Model` holds no symbolic tensor.")
    return leaves


def _is_none(leaf: Any) -> bool:
    return leaf is None
