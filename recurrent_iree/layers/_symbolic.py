"""Calls on symbolic tensors: shapes and dtypes of the results, without computing anything."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_iree_runtime import ArgumentError

from ._losses import Update
from ._masks import get_mask, set_mask
from ._node import Node, SymbolicTensor
from ._scope import open_scope
from ._shape import map_shapes, read_dtype, read_sizes

# An unknown size is tried with both; a size of the result that differs is unknown too.
FILLS = (2, 3)


def Input(  # noqa: N802 - the name of the original
    shape: Any = None,
    batch_size: int | None = None,
    name: str | None = None,
    dtype: Any = "float32",
    *,
    batch_shape: Any = None,
) -> SymbolicTensor:
    """A symbolic tensor to call layers with.

    Args:
        shape: sizes without the batch; None for unknown ones.
        batch_size: the size of dimension 0, or None.
        name: default ``input``.
        dtype: of the arrays that will stand for it.
        batch_shape: all sizes with the batch, instead of ``shape`` and ``batch_size``.

    Raises:
        ArgumentError: (a ValueError) neither or both of the shapes, or a negative size.

    >>> from recurrent_iree import layers
    >>> layers.LSTM(4)(layers.Input((None, 3))).shape
    (None, 4)
    """
    if (shape is None) == (batch_shape is None):
        raise ArgumentError(
            f"`Input` needs one of `shape` and `batch_shape`, got {shape} and {batch_shape}."
        )
    if batch_shape is None:
        sizes = (batch_size, *shape)
    else:
        sizes = tuple(batch_shape)
    return SymbolicTensor(read_sizes(sizes, "`Input`"), read_dtype(dtype), name or "input")


def symbolic_call(layer: Any, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Call ``layer`` on a tree with symbolic tensors; record the node."""
    tensors = _tensors((inputs, {k: v for k, v in kwargs.items() if k not in ("mask", "training")}))
    layer._prepare(jax.tree.map(_struct, inputs, is_leaf=_is_symbolic))
    results = [_abstract(layer, inputs, kwargs, fill) for fill in FILLS]
    first, second = (result[0] for result in results)
    shapes = jax.tree.map(_common_shape, first[0], second[0])
    node = Node(layer, tensors, [tensor.mask for tensor in tensors], call=(inputs, kwargs))
    outputs = _wrap(node, shapes, "output")
    node.outputs = jax.tree.leaves(outputs)
    passed = results[0][1]
    for index, (a, b) in enumerate(zip(first[1], second[1], strict=True)):
        mask = passed[index]
        if a is not None and mask is None:
            mask = _tensor(node, _common_shape(a, b), index, "mask")
        node.outputs[index].mask = mask
        node.output_masks.append(mask)
    layer._nodes().append(node)
    node.losses = len(first[2])
    losses = _wrap(node, list(map(_common_shape, first[2], second[2])), "loss")
    layer._keep("_call_losses", tensors, losses)
    _keep_symbolic_update(layer, node, tensors, first[3])
    return outputs


def abstract_build(layer: Any, input_shape: Any) -> None:
    """Run `layer.call` on shapes only, so that the layers inside it build themselves."""
    inputs = map_shapes(lambda shape: SymbolicTensor(shape, layer._weight_dtype()), input_shape)
    _abstract(layer, inputs, {}, FILLS[0])


def abstract_shape(layer: Any, input_shape: Any) -> Any:
    """The output shape (or list of shapes) of a layer for an input shape."""
    dtype = layer.dtype or "float32"
    inputs = map_shapes(lambda shape: SymbolicTensor(shape, dtype), input_shape)
    layer._prepare(jax.tree.map(_struct, inputs, is_leaf=_is_symbolic))
    first, second = (_abstract(layer, inputs, {}, fill)[0][0] for fill in FILLS)
    return jax.tree.map(lambda a, b: _common_shape(a, b).shape, first, second)


def _abstract(layer: Any, inputs: Any, kwargs: dict[str, Any], fill: int) -> tuple[Any, Any]:
    leaves, treedef = jax.tree.flatten((inputs, kwargs), is_leaf=_is_symbolic)
    tensors = [leaf for leaf in leaves if _is_symbolic(leaf)]
    masks = [tensor.mask for tensor in tensors]
    passed: list[Any] = []

    def run(arrays: list[Any], mask_arrays: list[Any]) -> Any:
        for array, mask in zip(arrays, mask_arrays, strict=True):
            if mask is not None:
                set_mask(array, mask)
        by_tensor = iter(arrays)
        filled = [next(by_tensor) if _is_symbolic(leaf) else leaf for leaf in leaves]
        call_inputs, call_kwargs = jax.tree.unflatten(treedef, filled)
        outputs = layer._call_arrays(call_inputs, call_kwargs)
        output_masks = [get_mask(leaf) for leaf in jax.tree.leaves(outputs)]
        passed[:] = [_original(mask, mask_arrays, masks) for mask in output_masks]
        states = [variable.value for variable in layer.state_variables]
        return outputs, output_masks, scope.losses, states

    states = {variable: variable.value for variable in layer.state_variables}
    with open_scope(states, key=jax.random.key(0)) as scope:
        result = jax.eval_shape(
            run,
            [_struct(tensor, fill) for tensor in tensors],
            [None if mask is None else _struct(mask, fill) for mask in masks],
        )
    return result, list(passed)


def _keep_symbolic_update(layer: Any, node: Node, tensors: list[Any], states: list[Any]) -> None:
    variables = tuple(layer.state_variables)
    if variables:
        values = tuple(_tensor(node, state, i, "state") for i, state in enumerate(states))
        layer._keep("_call_updates", tensors, [Update(variables, values)])


def _original(mask: Any, traced: list[Any], symbolic: list[Any]) -> Any:
    if mask is None:
        return None
    return next((s for t, s in zip(traced, symbolic, strict=True) if t is mask), None)


def _wrap(node: Node, shapes: Any, role: str) -> Any:
    leaves, treedef = jax.tree.flatten(shapes)
    tensors = [_tensor(node, leaf, index, role) for index, leaf in enumerate(leaves)]
    return jax.tree.unflatten(treedef, tensors)


def _tensor(node: Node, spec: Any, index: int, role: str) -> SymbolicTensor:
    name = f"{node.layer.name}/{role}"
    return SymbolicTensor(tuple(spec.shape), str(spec.dtype), name, node, index, role)


def _common_shape(first: Any, second: Any) -> SymbolicTensor:
    sizes = zip(first.shape, second.shape, strict=True)
    return SymbolicTensor(tuple(a if a == b else None for a, b in sizes), str(first.dtype))


def _struct(tensor: Any, fill: int | None = None) -> Any:
    if not _is_symbolic(tensor):
        return tensor
    if fill is None:
        return tensor
    shape = tuple(fill if size is None else size for size in tensor.shape)
    return jax.ShapeDtypeStruct(shape, jnp.dtype(tensor.dtype))


def _tensors(tree: Any) -> list[SymbolicTensor]:
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_is_symbolic) if _is_symbolic(leaf)]


def _is_symbolic(leaf: Any) -> bool:
    return isinstance(leaf, SymbolicTensor)
