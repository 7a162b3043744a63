"""One trace for every size: what differs between traces for some sizes becomes a symbol.

Python code of a layer may look at sizes as numbers, so it cannot be traced with symbols. It is
traced for a few sizes instead. Where the traces differ only in numbers that are sums and products
of the sizes, the same equations with these expressions are the program for any size.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from recurrent_iree._spec import TIME

from ._any_rows import symbols
from ._jaxpr import flatten_calls
from ._program import Program, Trace

_SIZES = ((5, 7, 11), (13, 17, 19))


class NotGeneral(Exception):
    """Raised inside this package: the traces differ in more than sizes."""


def any_size(
    program: Program, sizes: Mapping[str, int], names: Sequence[str]
) -> tuple[Trace, dict[str, Any]]:
    """The trace of `program` in which the dims `names` are symbols, and all sizes with them.

    Raises:
        NotGeneral: the program does something else for other sizes.
    """
    pairs = [_SIZES[i][:2] for i in range(len(names))]
    points = [*itertools.product(*pairs), tuple(_SIZES[i][2] for i in range(len(names)))]
    traces = [program.trace({**sizes, **dict(zip(names, p, strict=True))}) for p in points]
    first = traces[0]
    if any(t.lifted != first.lifted or t.result != first.result for t in traces):
        raise NotGeneral("constants or the structure of the results depend on it")
    symbols = export.symbolic_shape(", ".join(names))
    general = _General(points, list(symbols))
    given = {**sizes, **dict(zip(names, symbols, strict=True))}
    weights = [
        jax.ShapeDtypeStruct(program.weights[n].shape, program.weights[n].dtype)
        for n in first.weight_names
    ]
    arguments = [*weights, *program.input_avals(given)]
    jaxpr = general.jaxpr([t.jaxpr for t in traces], arguments)
    return Trace(jaxpr, first.weight_names, first.lifted, first.result), given


class _General:
    """Merges what was traced at `points` into expressions of `symbols`."""

    def __init__(self, points: Sequence[tuple[int, ...]], symbols: list[Any]) -> None:
        self.points = points
        self.symbols = symbols
        self.rows = np.array([self._terms(p) for p in points[:-1]], np.float64)

    def _terms(self, point: Sequence[Any]) -> list[Any]:
        """1, each size, and the product of all."""
        both = [point[0] * point[1]] if len(point) == 2 else []
        return [1, *point, *both]

    def number(self, values: Sequence[int]) -> Any:
        if len(set(values)) == 1:
            return values[0]
        factors = np.linalg.solve(self.rows, np.array(values[:-1], np.float64))
        whole = [int(f) for f in np.rint(factors)]
        for point, value in zip(self.points, values, strict=True):
            if sum(f * t for f, t in zip(whole, self._terms(point), strict=True)) != value:
                raise NotGeneral(f"a number is {', '.join(map(str, values))} for different sizes")
        terms = zip(whole, self._terms(self.symbols), strict=True)
        return sum(f * t for f, t in terms if f)

    def merge(self, values: Sequence[Any]) -> Any:
        """One parameter of an equation, or a part of it."""
        first = values[0]
        if isinstance(first, bool | str | np.dtype | type(None)):
            return self._equal(values)
        if isinstance(first, int | np.integer):
            return self.number(values)
        if isinstance(first, tuple | list):
            if len({len(v) for v in values}) != 1:
                raise NotGeneral("the number of axes depends on it")
            parts = [self.merge(part) for part in zip(*values, strict=True)]
            named = hasattr(first, "_fields")
            return type(first)(*parts) if named else type(first)(parts)
        if isinstance(first, ClosedJaxpr):
            return self.body(values)
        return self._equal(values)

    def _equal(self, values: Sequence[Any]) -> Any:
        if any(v != values[0] and str(v) != str(values[0]) for v in values[1:]):
            raise NotGeneral(f"a parameter is {values[0]} or {values[-1]}")
        return values[0]

    def body(self, bodies: Sequence[ClosedJaxpr]) -> ClosedJaxpr:
        """The body of a loop or branch."""
        avals = [
            jax.ShapeDtypeStruct(self.merge([a.shape for a in each]), each[0].dtype)
            for each in zip(*(b.in_avals for b in bodies), strict=True)
        ]
        flat = [flatten_calls(b) for b in bodies]
        return self.jaxpr(flat, avals)

    def jaxpr(self, jaxprs: Sequence[ClosedJaxpr], avals: Sequence[Any]) -> ClosedJaxpr:
        """The equations of `jaxprs` traced once more, for arguments of any size."""
        first = jaxprs[0].jaxpr
        if len({len(j.jaxpr.eqns) for j in jaxprs}) != 1:
            raise NotGeneral("the number of operations depends on it")
        for consts in zip(*(j.consts for j in jaxprs), strict=True):
            if any(c is not consts[0] and not np.array_equal(c, consts[0]) for c in consts):
                raise NotGeneral("a constant depends on it")
        wiring = [_numbered(j.jaxpr) for j in jaxprs]

        def run(*args: Any) -> list[Any]:
            env: dict[Any, Any] = dict(zip(first.constvars, jaxprs[0].consts, strict=True))
            env.update(zip(first.invars, args, strict=True))
            for eqns in zip(*(j.jaxpr.eqns for j in jaxprs), strict=True):
                values = [self._read(atoms, env, wiring) for atoms in _side_by_side(eqns)]
                env.update(zip(eqns[0].outvars, self._bind(eqns, values), strict=True))
            outs = zip(*(j.jaxpr.outvars for j in jaxprs), strict=True)
            return [self._read(atoms, env, wiring) for atoms in outs]

        return jax.make_jaxpr(run)(*avals)

    def _bind(self, eqns: Sequence[JaxprEqn], values: list[Any]) -> Sequence[Any]:
        eqn = eqns[0]
        if len({e.primitive.name for e in eqns}) != 1:
            raise NotGeneral(f"the operation is {eqn.primitive.name} or another one")
        params = {key: self.merge([e.params[key] for e in eqns]) for key in eqn.params}
        with eqn.ctx.manager:
            result = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
        return result if eqn.primitive.multiple_results else [result]

    def _size(self, values: Sequence[np.ndarray]) -> Any:
        """A number of rows as a value: a mean over the rows divides by it."""
        whole = [v.shape == () and v.dtype.kind in "if" and v == np.rint(v) for v in values]
        size = self.number([int(v) for v in values]) if all(whole) else None
        if size is None or TIME in symbols(size):
            raise NotGeneral("a constant depends on it")
        return jnp.asarray(size).astype(values[0].dtype)

    def _read(
        self, atoms: Sequence[Any], env: Mapping[Any, Any], wiring: Sequence[Mapping[Var, int]]
    ) -> Any:
        if isinstance(atoms[0], Literal):
            values = [np.asarray(a.val) for a in atoms]
            if len({v.tobytes() for v in values}) != 1:  # NaN is what it is
                return self._size(values)
            return atoms[0].val
        if len({w[a] for w, a in zip(wiring, atoms, strict=True)}) != 1:
            raise NotGeneral("the order of operations depends on it")
        return env[atoms[0]]


def _side_by_side(eqns: Sequence[JaxprEqn]) -> Any:
    if len({len(e.invars) for e in eqns}) != 1:
        raise NotGeneral("the number of operands depends on it")
    return zip(*(e.invars for e in eqns), strict=True)


def _numbered(jaxpr: Any) -> dict[Var, int]:
    """Each variable with the number at which it is made."""
    made = [*jaxpr.constvars, *jaxpr.invars, *(v for e in jaxpr.eqns for v in e.outvars)]
    return {var: number for number, var in enumerate(made)}
