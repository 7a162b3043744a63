"""The program that computes the gradients of a program, by `jax.vjp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree._spec import Dim, Spec
from recurrent_iree_runtime import ArgumentError, UnsupportedError

from ._jaxpr import RULES, bind, evaluate
from ._program import Program, Trace

GRADIENTS = "gradients"
COTANGENTS = "cotangents"


class Gradients(NamedTuple):
    """The outputs of a program, and what changes the sum of outputs times cotangents.

    Attributes:
        outputs: as the program returns them.
        inputs: a gradient for each positional argument, ``None`` where it is not of floats.
        keywords: the same by name for the keyword arguments.
        weights: a gradient for each weight of floats, by its name.
    """

    outputs: Any
    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    weights: dict[str, Any]


@dataclass(frozen=True)
class Backward:
    """The program of the entry ``gradients``, and what it was made with."""

    program: Program
    dims: dict[str, int]
    shapes: list[tuple[int | str, ...]]


def gradient_program(
    program: Program, sizes: Mapping[str, int], shapes: Sequence[tuple[int | str, ...]]
) -> Program:
    """The program of the entry ``gradients``: inputs and cotangents of the outputs to `Gradients`.

    Args:
        program: what to differentiate.
        sizes: one choice of the sizes of its dims.
        shapes: the shape of each output leaf, named dims by name.

    Raises:
        ArgumentError: an argument of the program is called ``cotangents``.
        UnsupportedError: a dim may have any size, or no output has a gradient.
    """
    args, kwargs = jax.tree.unflatten(program.structure, program.leaves)
    if COTANGENTS in kwargs:
        raise ArgumentError(
            f'compile: the program has an argument {COTANGENTS!r}, which entry="gradients" adds; '
            "give it another name"
        )
    trace = program.trace_with_rules(program.input_avals(sizes))
    weights = [name for name, value in program.weights.items() if _is_float(value)]
    cotangents = _cotangent_specs(program, trace.jaxpr.out_avals, shapes)
    if not any(isinstance(c, Spec) for c in cotangents):
        raise UnsupportedError("compile: no output of the program is of floats: no gradients")
    arguments = (
        ({name: name for name in weights}, *args),
        {**kwargs, COTANGENTS: jax.tree.unflatten(trace.result, cotangents)},
    )
    leaves, structure = jax.tree.flatten(arguments)
    return Program(
        function=_Backward(program),
        structure=structure,
        leaves=leaves,
        names=_names(program, arguments),
        weights=program.weights,
        lifted=program.lifted,
    )


def _cotangent_specs(
    program: Program, avals: Sequence[Any], shapes: Sequence[tuple[int | str, ...]]
) -> list[Spec | None]:
    def dim(size: int | str) -> Dim:
        return Dim(size, program.dims[size]) if isinstance(size, str) else Dim(None, (size,))

    return [
        Spec(tuple(map(dim, shape)), np.dtype(aval.dtype).name) if _is_float(aval) else None
        for aval, shape in zip(avals, shapes, strict=True)
    ]


def _names(program: Program, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> list[str]:
    own = iter(program.names)
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(arguments)[0]:
        if not isinstance(leaf, Spec):
            continue
        parts = [str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", p)))) for p in path[1:]]
        added = parts[0] == COTANGENTS and path[0].idx == 1  # pyright: ignore
        names.append("/".join(parts) if added else next(own))
    return names


class _Backward:
    """``(weights, *args, cotangents=, **kwargs)`` to `Gradients`."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, weights: dict[str, Any], /, *args: Any, **kwargs: Any) -> Gradients:
        cotangents = jax.tree.leaves(kwargs.pop(COTANGENTS))
        leaves = jax.tree.leaves((args, kwargs))
        places = [i for i, leaf in enumerate(self.program.leaves) if isinstance(leaf, Spec)]
        inputs = [leaves[i] for i in places]
        floats = [_is_float(value) for value in inputs]
        trace = self.program.trace_with_rules(
            [jax.ShapeDtypeStruct(np.shape(v), jnp.result_type(v)) for v in inputs]
        )
        known = {**self.program.weights, **weights}

        def forward(weights: dict[str, Any], changed: list[Any]) -> tuple[list[Any], list[Any]]:
            given = {**known, **weights}
            remaining = iter(changed)
            values = [
                next(remaining) if float_ else value
                for value, float_ in zip(inputs, floats, strict=True)
            ]
            arguments = [*(given[name] for name in trace.weight_names), *values]
            rules = dict.fromkeys(RULES, bind)
            outputs = evaluate(trace.bind(given), arguments, rules)
            return [o for o in outputs if _is_float(o)], outputs

        changed = [value for value, float_ in zip(inputs, floats, strict=True) if float_]
        _, pull, outputs = jax.vjp(forward, weights, changed, has_aux=True)
        by_weight, by_input = pull(cotangents)
        remaining = iter(by_input)
        slots = [next(remaining) if float_ else None for float_ in floats]
        return _arranged(self.program, trace.result, outputs, slots, by_weight)


def _arranged(
    program: Program, result: Any, outputs: list[Any], by_input: list[Any], by_weight: Any
) -> Gradients:
    """`Gradients` in the structure of the program's arguments and of its `result`."""
    remaining = iter(by_input)
    slots = [next(remaining) if isinstance(leaf, Spec) else None for leaf in program.leaves]
    by_args, by_name = jax.tree.unflatten(program.structure, slots)
    positions, names = _with_inputs(program)
    return Gradients(
        jax.tree.unflatten(result, outputs),
        tuple(by_args[i] for i in positions),
        {name: by_name[name] for name in names},
        by_weight,
    )


class _Shape(NamedTuple):
    dims: tuple[int | str, ...]


def gradient_shapes(program: Program, made: Backward, trace: Trace) -> list[tuple[int | str, ...]]:
    """The shape of each output leaf of `made`, the gradients of `program`, one of whose traces is
    `trace`. A gradient has the shape of what it is for, so no other sizes have to be tried.
    """
    by_input = [
        _Shape(tuple((d.sizes or (0,))[0] if d.name is None else d.name for d in given.dims))
        if jnp.issubdtype(jnp.dtype(given.dtype), jnp.inexact)
        else None
        for given in program.specs
    ]
    (names, *_), _ = jax.tree.unflatten(made.program.structure, made.program.leaves)
    by_weight = {name: _Shape(program.weights[name].shape) for name in names}
    outputs = [_Shape(tuple(shape)) for shape in made.shapes]
    tree = _arranged(program, trace.result, outputs, by_input, by_weight)
    return [leaf.dims for leaf in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, _Shape))]


def _with_inputs(program: Program) -> tuple[list[int], list[str]]:
    """The positional and the keyword arguments that hold an input."""
    args, kwargs = jax.tree.unflatten(program.structure, program.leaves)

    def holds(argument: Any) -> bool:
        return any(isinstance(leaf, Spec) for leaf in jax.tree.leaves(argument))

    return [i for i, a in enumerate(args) if holds(a)], [k for k, v in kwargs.items() if holds(v)]


def _is_float(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.inexact)
