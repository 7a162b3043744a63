"""The program as captured: a pure function of weights and inputs, and the sizes to lower."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from recurrent_iree._spec import TIME, Spec
from recurrent_iree_runtime import ArgumentError, UnsupportedError

from ._jaxpr import RULES, flatten_calls

SMALLEST_WEIGHT = 64


@dataclass
class Program:
    """A callable whose arguments are sorted into weights and inputs.

    Attributes:
        function: called as ``function(*args, **kwargs)`` with the original argument structure.
        structure: pytree of the arguments ``(args, kwargs)``.
        leaves: for each leaf of the arguments a `Spec` (an input) or the name of a weight.
        names: a name for each input leaf.
        weights: the arrays by name; grows when constants are lifted out of traces.
        layer: the layer that the function calls, if it is one.
        lifted: the names of constants that were lifted to weights, by what they hold.
        traces: what `trace` gave or raised, by sizes.
    """

    function: Callable[..., Any]
    structure: Any
    leaves: list[Spec | str]
    names: list[str]
    weights: dict[str, np.ndarray]
    layer: Any = None
    lifted: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    traces: dict[tuple[tuple[str, Any], ...], Trace | Exception] = field(default_factory=dict)
    _with_rules: dict[tuple[Any, ...], Trace] = field(default_factory=dict)

    @property
    def specs(self) -> list[Spec]:
        """The specs of the input leaves."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Spec)]

    @property
    def dims(self) -> dict[str, tuple[int, ...] | None]:
        """The sizes of each named dim, ``None`` for any, in order of first appearance."""
        dims: dict[str, tuple[int, ...] | None] = {}
        for name, given in zip(self.names, self.specs, strict=True):
            for dim in given.dims:
                if dim.name is None:
                    continue
                if dims.setdefault(dim.name, dim.sizes) != dim.sizes:
                    raise ArgumentError(
                        f"compile: the dim {dim.name!r} has other sizes in the input {name!r} "
                        f"({dim}) than in an earlier one; one name stands for one size"
                    )
        return dims

    @property
    def any_dims(self) -> list[str]:
        """The names of dims of any size, except time."""
        return [n for n, sizes in self.dims.items() if sizes is None and n != TIME]

    def sizes(self, time: int | None = None) -> Iterator[dict[str, int]]:
        """Every combination of the sizes of the dims; `time` overrides the sizes of time."""
        dims = {name: sizes for name, sizes in self.dims.items() if sizes is not None}
        if time is not None and TIME in self.dims:
            dims[TIME] = (time,)
        for combination in itertools.product(*dims.values()):
            yield dict(zip(dims, combination, strict=True))

    def input_avals(self, sizes: Mapping[str, Any]) -> list[jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the input leaves for `sizes`."""
        return [
            jax.ShapeDtypeStruct(given.shape(dict(sizes)), jnp.dtype(given.dtype))
            for given in self.specs
        ]

    def call(self, weights: Mapping[str, Any], inputs: Sequence[Any]) -> Any:
        """Call the function with the original structure of its arguments."""
        remaining = iter(inputs)
        values = [
            weights[leaf] if isinstance(leaf, str) else next(remaining) for leaf in self.leaves
        ]
        args, kwargs = jax.tree.unflatten(self.structure, values)
        return self.function(*args, **kwargs)

    def trace(self, sizes: Mapping[str, Any]) -> Trace:
        """Trace the function for `sizes`, calls inlined, constants lifted to weights; once each."""
        key = tuple(sorted(sizes.items()))
        if key not in self.traces:
            try:
                self.traces[key] = self._trace(sizes)
            except Exception as error:
                self.traces[key] = error
        found = self.traces[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _trace(self, sizes: Mapping[str, Any]) -> Trace:
        names, jaxpr, structure = self._traced(self.input_avals(sizes))
        jaxpr = flatten_calls(jaxpr)
        return Trace(jaxpr, names, self._lifts(jaxpr), structure)

    def trace_with_rules(self, avals: Sequence[jax.ShapeDtypeStruct]) -> Trace:
        """As `trace`, for given inputs, but functions with rules for derivatives stay calls."""
        key = tuple((tuple(a.shape), np.dtype(a.dtype).name) for a in avals)
        if key not in self._with_rules:
            names, jaxpr, structure = self._traced(avals)
            jaxpr = flatten_calls(jaxpr, keep=RULES)
            self._with_rules[key] = Trace(jaxpr, names, self._lifts(jaxpr), structure)
        return self._with_rules[key]

    def _traced(self, avals: Sequence[jax.ShapeDtypeStruct]) -> tuple[list[str], ClosedJaxpr, Any]:
        names = [leaf for leaf in self.leaves if isinstance(leaf, str)]

        def flat(weights: list[Any], inputs: list[Any]) -> list[Any]:
            result = self.call(dict(zip(names, weights, strict=True)), inputs)
            structure.append(jax.tree.structure(result))
            return jax.tree.leaves(result)

        structure: list[Any] = []
        given = [jax.ShapeDtypeStruct(self.weights[n].shape, self.weights[n].dtype) for n in names]
        jaxpr = jax.make_jaxpr(flat)(given, list(avals))
        if jaxpr.effects:
            raise UnsupportedError(
                f"compile: the program has side effects ({', '.join(map(str, jaxpr.effects))}), "
                "such as debug.print or a callback; remove them before compiling"
            )
        return names, jaxpr, structure[-1]

    def _lifts(self, jaxpr: ClosedJaxpr) -> list[str | None]:
        return [self._lift(const) for const in jaxpr.consts]

    def _lift(self, const: Any) -> str | None:
        """The weight that holds the closed-over array `const`, unless it is small."""
        if jnp.issubdtype(const.dtype, jax.dtypes.extended):
            return None
        value = np.asarray(const)
        if value.nbytes < SMALLEST_WEIGHT:
            return None
        key = (value.dtype.name, value.shape, value.tobytes())
        if key not in self.lifted:
            name = f"constant_{len(self.lifted)}"
            self.lifted[key] = name
            self.weights[name] = value
        return self.lifted[key]


@dataclass(frozen=True)
class Trace:
    """The program traced for one choice of sizes.

    Attributes:
        jaxpr: flat; its inputs are the explicit weights, then the input leaves.
        weight_names: the names of the explicit weights.
        lifted: for each constant of `jaxpr` the weight that holds it, or ``None``.
        result: pytree structure of the result.
    """

    jaxpr: ClosedJaxpr
    weight_names: list[str]
    lifted: list[str | None]
    result: Any

    @property
    def scans(self) -> list[Any]:
        """The loops of the top level, in order."""
        return [eqn for eqn in self.jaxpr.jaxpr.eqns if eqn.primitive.name == "scan"]

    @property
    def has_loops(self) -> bool:
        """Whether any loop is at the top level."""
        return any(e.primitive.name in {"scan", "while"} for e in self.jaxpr.jaxpr.eqns)

    def bind(self, weights: Mapping[str, Any]) -> ClosedJaxpr:
        """The jaxpr with lifted constants taken from `weights`."""
        consts = [
            const if name is None else weights[name]
            for const, name in zip(self.jaxpr.consts, self.lifted, strict=True)
        ]
        return ClosedJaxpr(self.jaxpr.jaxpr, consts)
