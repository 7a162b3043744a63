"""Sorting the arguments of a program into weights and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_iree._spec import TIME, Spec
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

from ._program import Program


def sort_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Program:
    """The program of `function` for arguments whose leaves are specs (inputs) or arrays (weights).

    Raises:
        ArgumentTypeError: `function` is not callable, or a leaf is neither spec nor array.
        ArgumentError: no leaf is a spec, or an input names two time axes.
    """
    if _is_layer(function):
        return _layer_program(function, args, kwargs)
    if not callable(function):
        raise ArgumentTypeError(
            f"compile: the program is a {type(function).__name__}; give a function or a layer"
        )
    weights: dict[str, np.ndarray] = {}
    leaves, names, structure = _leaves((args, kwargs), weights)
    return Program(function, structure, leaves, names, weights)


def _leaves(
    arguments: tuple[tuple[Any, ...], dict[str, Any]], weights: dict[str, np.ndarray]
) -> tuple[list[Spec | str], list[str], Any]:
    paths, structure = jax.tree_util.tree_flatten_with_path(
        arguments, is_leaf=lambda x: isinstance(x, Spec)
    )
    leaves: list[Spec | str] = []
    names: list[str] = []
    for path, leaf in paths:
        name = _name(path)
        if isinstance(leaf, Spec):
            leaves.append(leaf)
            names.append(name)
        elif isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float, complex)):
            weights[name] = np.asarray(jax.numpy.asarray(leaf))
            leaves.append(name)
        else:
            raise ArgumentTypeError(
                f"compile: the argument {name!r} is a {type(leaf).__name__}; give a spec "
                "(recurrent_iree.spec) for an input, or an array for a weight"
            )
    if not names:
        raise ArgumentError(
            "compile: no argument is a spec; give recurrent_iree.spec(...) for each input, "
            'for example ri.spec("batch=1", "time=?", 40)'
        )
    return leaves, names, structure


def _name(path: tuple[Any, ...]) -> str:
    """``args[0]['a']`` as ``arg0/a``, keyword arguments by their name."""
    parts = [str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", p)))) for p in path[1:]]
    if getattr(path[0], "idx", 0) == 0:
        parts[0] = f"arg{parts[0]}"
    return "/".join(parts)


def _is_layer(function: Any) -> bool:
    return hasattr(function, "stateless_call") and hasattr(function, "weight_names")


def _layer_program(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    if not layer.built:
        layer.build(_build_shape(args))
    names = list(layer.weight_names)
    weights = {n: np.asarray(v) for n, v in zip(names, layer.get_weights(), strict=True)}
    states = [np.asarray(v.value) for v in layer.state_variables]

    def call(layer_weights: list[Any], *inputs: Any, **options: Any) -> Any:
        return layer.stateless_call(layer_weights, states, *inputs, **options)[0]

    inputs: dict[str, np.ndarray] = {}
    leaves, input_names, structure = _leaves((args, kwargs), inputs)
    arguments = jax.tree.unflatten(structure, leaves)
    structure = jax.tree.structure(((names, *arguments[0]), arguments[1]))
    given = {**weights, **inputs}
    program = Program(call, structure, [*names, *leaves], input_names, given, layer)
    if program.dims.get(TIME, ()) is None and getattr(layer, "stateful", False) and not states:
        raise ArgumentError("compile: a stateful layer must be built before it is compiled")
    return program


def _build_shape(args: tuple[Any, ...]) -> tuple[int | None, ...]:
    first = next(iter(jax.tree.leaves(args, is_leaf=lambda x: isinstance(x, Spec))), None)
    if not isinstance(first, Spec):
        given = "missing" if first is None else f"a {type(first).__name__}"
        raise ArgumentTypeError(
            f"compile: the first argument of the layer is {given}; give a spec for its inputs, "
            'for example ri.spec("batch=1", "time=?", 40)'
        )
    return tuple(
        dim.sizes[0] if dim.sizes is not None and len(dim.sizes) == 1 else None
        for dim in first.dims
    )
