"""Symbolic tensors, and the record of every call of a layer."""

import weakref
from dataclasses import dataclass, field
from typing import Any

import jax

from recurrent_iree_runtime import (
    ArgumentError,
    ArgumentTypeError,
    LayerAttributeError,
    LayerRuntimeError,
)

MAX_CONCRETE_NODES = 256


class SymbolicTensor:
    """A tensor without values: its shape, its dtype, and the call that will produce it.

    ``shape`` has None where a size is not known. ``mask`` is the symbolic mask, or None.
    """

    def __init__(
        self,
        shape: tuple[int | None, ...],
        dtype: str,
        name: str = "tensor",
        node: "Node | None" = None,
        index: int = 0,
        role: str = "output",
    ):
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.node = node
        self.index = index
        self.role = role
        self.mask: SymbolicTensor | None = None

    @property
    def ndim(self) -> int:
        """The rank."""
        return len(self.shape)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentTypeError(
            f"{self!r} has no values yet: call layers with it, and make a `Model` of the result."
        )

    __jax_array__ = __array__

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name!r} {self.dtype}{list(self.shape)}>"


@dataclass
class Node:
    """One call of a layer: what went in, what came out.

    ``call`` holds ``(inputs, kwargs)`` of a symbolic call, from which a `Model` repeats it.
    """

    layer: Any
    inputs: list[Any]
    input_masks: list[Any]
    outputs: list[Any] = field(default_factory=list)
    output_masks: list[Any] = field(default_factory=list)
    call: tuple[Any, dict[str, Any]] | None = None
    losses: int = 0


class _Recalled:
    """An array of a call with values, kept weakly: a layer must not keep its inputs alive."""

    def __init__(self, array: Any, name: str):
        self._array = weakref.ref(array)
        self._spec = SymbolicTensor(tuple(array.shape), str(array.dtype), name)

    def get(self) -> Any:
        array = self._array()
        return self._spec if array is None else array


def contains_symbolic(tree: Any) -> bool:
    """Whether a tree has a `SymbolicTensor` leaf."""
    return any(isinstance(leaf, SymbolicTensor) for leaf in jax.tree.leaves(tree))


class InboundNodes:
    """The part of `Layer` that answers questions about its calls.

    After a symbolic call the answers are symbolic tensors. After a call with arrays they are those
    arrays as long as the caller keeps them, and later symbolic tensors of the same shape and dtype.
    Calls inside a JAX transformation are not recorded; of the calls with arrays, the first 256 are.
    """

    name: str

    def _nodes(self) -> list[Node]:
        return self.__dict__.setdefault("_inbound_nodes", [])

    def _record_arrays(self, inputs: Any, masks: Any, outputs: Any, output_masks: Any) -> None:
        nodes = self._nodes()
        if len(nodes) >= MAX_CONCRETE_NODES:
            return
        sides = (("input", inputs), ("input_mask", masks))
        sides += (("output", outputs), ("output_mask", output_masks))
        kept = [[self._recall(leaf, side) for leaf in _flat(tree)] for side, tree in sides]
        kept[1] += [None] * (len(kept[0]) - len(kept[1]))
        kept[3] += [None] * (len(kept[2]) - len(kept[3]))
        nodes.append(Node(self, kept[0], kept[1], kept[2], kept[3]))

    def _recall(self, leaf: Any, side: str) -> Any:
        if leaf is None or isinstance(leaf, SymbolicTensor):
            return leaf
        return _Recalled(leaf, f"{self.name}/{side}")

    def _node_at(self, index: int, what: str) -> Node:
        nodes = self._nodes()
        if not nodes:
            raise LayerRuntimeError(
                f"layer `{self.name}` has never been called, so it has no {what}: call it first."
            )
        if isinstance(index, bool) or not isinstance(index, int):
            raise ArgumentTypeError(f"`node_index` must be an integer, got {type(index).__name__}.")
        if not 0 <= index < len(nodes):
            raise ArgumentError(
                f"`node_index` is {index}, but layer `{self.name}` has {len(nodes)} recorded "
                f"calls: expected 0 to {len(nodes) - 1}."
            )
        return nodes[index]

    def _only_node(self, what: str) -> Node:
        nodes = self._nodes()
        if not nodes:
            raise LayerAttributeError(
                f"layer `{self.name}` has never been called, so it has no {what}: call it first."
            )
        if len(nodes) > 1:
            raise LayerAttributeError(
                f"layer `{self.name}` was called {len(nodes)} times, so `{what}` is ambiguous: use "
                f"`get_{what}_at(node_index)`."
            )
        return nodes[0]

    def _common_shape(self, what: str) -> Any:
        nodes = self._nodes()
        if not nodes:
            raise LayerAttributeError(
                f"layer `{self.name}` has never been called, so it has no {what}_shape: call it, "
                "or use compute_output_shape."
            )
        shapes = [_shapes(getattr(node, what + "s")) for node in nodes]
        if any(shape != shapes[0] for shape in shapes):
            raise LayerAttributeError(
                f"layer `{self.name}` was called with different shapes {shapes}, so "
                f"`{what}_shape` is ambiguous: use `get_{what}_shape_at(node_index)`."
            )
        return shapes[0]

    @property
    def input(self) -> Any:
        """The input tensor of the only call, or a list if it had several.

        Raises:
            LayerAttributeError: (an AttributeError) never called, or called more than once.
        """
        return _tensors(self._only_node("input").inputs)

    @property
    def output(self) -> Any:
        """The output tensor of the only call, or a list; errors as `input`."""
        return _tensors(self._only_node("output").outputs)

    @property
    def input_mask(self) -> Any:
        """The mask (or None) of the only call's input, or a list; errors as `input`."""
        return _tensors(self._only_node("input_mask").input_masks)

    @property
    def output_mask(self) -> Any:
        """The mask (or None) of the only call's output, or a list; errors as `input`."""
        return _tensors(self._only_node("output_mask").output_masks)

    @property
    def input_shape(self) -> Any:
        """The shape of the input (a tuple, or a list of tuples) that all calls have in common.

        Raises:
            LayerAttributeError: (an AttributeError) never called, or with different shapes.
        """
        return self._common_shape("input")

    @property
    def output_shape(self) -> Any:
        """The shape of the output that all calls have in common; errors as `input_shape`."""
        return self._common_shape("output")

    def get_input_at(self, node_index: int) -> Any:
        """The input tensor (or list) of call number ``node_index``, counted from 0.

        Raises:
            LayerRuntimeError: (a RuntimeError) never called.
            ArgumentError: (a ValueError) no such call.
        """
        return _tensors(self._node_at(node_index, "input").inputs)

    def get_output_at(self, node_index: int) -> Any:
        """The output tensor (or list) of a call; errors as `get_input_at`."""
        return _tensors(self._node_at(node_index, "output").outputs)

    def get_input_mask_at(self, node_index: int) -> Any:
        """The input mask (or None, or a list) of a call; errors as `get_input_at`."""
        return _tensors(self._node_at(node_index, "input_mask").input_masks)

    def get_output_mask_at(self, node_index: int) -> Any:
        """The output mask (or None, or a list) of a call; errors as `get_input_at`."""
        return _tensors(self._node_at(node_index, "output_mask").output_masks)

    def get_input_shape_at(self, node_index: int) -> Any:
        """The input shape (or list of shapes) of a call; errors as `get_input_at`."""
        return _shapes(self._node_at(node_index, "input_shape").inputs)

    def get_output_shape_at(self, node_index: int) -> Any:
        """The output shape (or list of shapes) of a call; errors as `get_input_at`."""
        return _shapes(self._node_at(node_index, "output_shape").outputs)


def _flat(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)


def _tensors(records: list[Any]) -> Any:
    values = [record.get() if isinstance(record, _Recalled) else record for record in records]
    return values[0] if len(values) == 1 else values


def _shapes(records: list[Any]) -> Any:
    shapes = [tuple(_spec(record).shape) for record in records]
    return shapes[0] if len(shapes) == 1 else shapes


def _spec(record: Any) -> SymbolicTensor:
    return record._spec if isinstance(record, _Recalled) else record
