"""What an artifact says about the layer that it was compiled from, for `model.layer`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from recurrent_iree._spec import TIME
from recurrent_iree_runtime import ArgumentError, RecurrentIreeError

from ._jaxpr import flatten_calls
from ._program import Program, Trace
from ._streaming import Streaming

FLAGS = ("stateful", "return_sequences", "return_state", "go_backwards", "time_major")


def describe_layer(program: Program, streaming: Streaming) -> dict[str, Any] | None:
    """The layer of `program` as JSON; ``None`` if the program is no layer.

    ``weights`` are the names of its weights in the order of `get_weights`, ``parameters`` the
    names of the positional arguments, ``states`` its states: shape without batch, dtype, and the
    slot of the stream that holds it (``None`` where no slot starts as that state).
    """
    layer = program.layer
    if layer is None:
        return None
    cell = getattr(layer, "cell", None)
    return {
        "class_name": type(layer).__name__,
        "name": layer.name,
        "config": _config(layer),
        "weights": list(layer.weight_names),
        "parameters": _parameters(layer),
        "flags": {flag: bool(getattr(layer, flag, False)) for flag in FLAGS},
        "cell": None if cell is None else type(cell).__name__,
        "takes_constants": cell is not None and _takes_constants(cell),
        "states": _states(program, streaming),
        "starts_at_zero": not hasattr(cell, "get_initial_state"),
    }


def _config(layer: Any) -> Any:
    """The layer's configuration if JSON can hold it, else ``None``."""
    try:
        return json.loads(json.dumps(layer.get_config()))
    except (TypeError, ValueError, RecurrentIreeError):
        return None


def _parameters(layer: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = inspect.signature(type(layer).__call__).parameters.values()
    names = [p.name for p in named if p.kind in kinds][1:]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in named):
        names += list(inspect.signature(layer.call).parameters)[1:]
    return names


def _takes_constants(cell: Any) -> bool:
    takes = getattr(cell, "takes_constants", None)
    return bool("constants" in inspect.signature(cell.call).parameters if takes is None else takes)


def _states(program: Program, streaming: Streaming) -> list[dict[str, Any]]:
    """The states of the layer, each with the slot that starts as it."""
    sizes = {**next(iter(program.sizes(time=3))), **dict.fromkeys(program.any_dims, 3)}
    examples = _examples(program, sizes)
    if not examples:
        return []
    slots: Sequence[str | None] = [None] * len(examples)
    if not streaming.reason:
        slots = _slots(program, streaming, sizes, examples)
    return [
        {"shape": list(e.shape[1:]), "dtype": np.dtype(e.dtype).name, "slot": slot}
        for e, slot in zip(examples, slots, strict=True)
    ]


def _examples(program: Program, sizes: Mapping[str, int]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the layer's states."""
    layer = program.layer
    if layer.state_variables:
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in layer.state_variables]
    if not hasattr(layer, "get_initial_state") or getattr(layer, "cell", None) is None:
        return []
    remaining = iter(program.input_avals(sizes))
    values = [None if isinstance(x, str) else next(remaining) for x in program.leaves]
    inputs = jax.tree.unflatten(program.structure, values)[0][1]
    inputs = inputs[0] if isinstance(inputs, list) else inputs
    if any(len(leaf.shape) < 3 for leaf in jax.tree.leaves(inputs)):
        return []
    return list(jax.eval_shape(layer.get_initial_state, inputs))


def stateful_probe(program: Program, name: str, sizes: Mapping[str, int]) -> Trace:
    """Trace a stateful layer for another size of its batch than that of its states.

    The layer itself has states of one batch, so that its states would not show which of their axes
    is the batch. Raises `ArgumentError` if the dim `name` is not the batch of the states.
    """
    layer, choices = program.layer, program.dims[name]
    variables = getattr(layer, "state_variables", None)
    if layer is None or not variables or any(v.shape[:1] != choices for v in variables):
        raise ArgumentError(f"the dim {name!r} is not the batch of the states of a layer")
    states = [jnp.zeros((sizes[name], *v.shape[1:]), v.dtype) for v in variables]

    def call(weights: Any, *args: Any, **kwargs: Any) -> Any:
        return layer.stateless_call(weights, states, *args, **kwargs)[0]

    fresh = {"weights": dict(program.weights), "lifted": {}, "traces": {}}
    return replace(program, function=call, **fresh).trace(sizes)


def _slots(
    program: Program,
    streaming: Streaming,
    sizes: Mapping[str, int],
    examples: Sequence[jax.ShapeDtypeStruct],
) -> list[str | None]:
    """Trace the layer with its states as arguments, and see where its loops start from them."""
    layer = program.layer
    names = [leaf for leaf in program.leaves if isinstance(leaf, str)]
    given = [
        jax.ShapeDtypeStruct(program.weights[n].shape, program.weights[n].dtype) for n in names
    ]

    def flat(states: list[Any], weights: list[Any], inputs: list[Any]) -> list[Any]:
        remaining, named = iter(inputs), dict(zip(names, weights, strict=True))
        values = [named[x] if isinstance(x, str) else next(remaining) for x in program.leaves]
        args, kwargs = jax.tree.unflatten(program.structure, values)
        if layer.state_variables:
            return jax.tree.leaves(layer.stateless_call(args[0], states, *args[1:], **kwargs))
        kwargs = {**kwargs, "initial_state": states}
        return jax.tree.leaves(layer.stateless_call(args[0], [], *args[1:], **kwargs))

    try:
        made = jax.make_jaxpr(flat)(list(examples), given, program.input_avals({**sizes, TIME: 3}))
    except (TypeError, ValueError, RecurrentIreeError):
        return [None] * len(examples)
    jaxpr = flatten_calls(made).jaxpr
    scans = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    starts: dict[Any, str] = {}
    for index in streaming.loops:
        if index < len(scans):
            eqn = scans[index]
            first, count = eqn.params["num_consts"], eqn.params["num_carry"]
            for position, atom in enumerate(eqn.invars[first : first + count]):
                if isinstance(atom, Var):
                    starts.setdefault(atom, f"loop{index}/carry{position}")
    return [starts.get(var) for var in jaxpr.invars[: len(examples)]]
