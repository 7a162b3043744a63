"""A hash of what a program does, read off its traces: equal hashes mean equal lowered programs.

The walk knows every kind of value that it takes in. What it does not know, such as a callback,
makes the program one without a fingerprint, which is then built anew each time.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from ._jaxpr import live_equations
from ._program import Program, Trace

_TOLD_BY_REPR = {
    "AbstractMesh",
    "Mesh",
    "UnspecifiedValue",
    "NamedSharding",
    "SingleDeviceSharding",
}


class NoFingerprint(Exception):
    """A value in a trace whose content cannot be told."""


def fingerprint_of(*values: Any) -> str:
    """A hash of nested plain values, arrays and jaxprs.

    Raises:
        NoFingerprint: a value is of a kind whose content is not known.

    >>> fingerprint_of("ab", "c") == fingerprint_of("a", "bc")
    False
    """
    state = _Hash()
    for value in values:
        state.feed(value)
    return state.digest()


def trace_fingerprint(program: Program, sizes: Mapping[str, Any]) -> str:
    """The fingerprint of `program` for these sizes; an error of tracing has one, too.

    Raises:
        NoFingerprint: something in the trace cannot be told.
    """
    try:
        trace = program.trace(sizes)
    except Exception as error:  # whatever the user's program raises at these sizes
        return fingerprint_of("error", type(error).__qualname__, str(error))
    return _of_trace(trace)


def _of_trace(trace: Trace) -> str:
    lifted = [name or "" for name in trace.lifted]
    return fingerprint_of(trace.jaxpr, lifted, trace.weight_names, str(trace.result))


class _Hash:
    """Feeds values into a hash, each with its kind and length in front."""

    def __init__(self) -> None:
        self.state = hashlib.sha256()
        self.numbers: dict[Var, int] = {}

    def digest(self) -> str:
        return self.state.hexdigest()

    def put(self, kind: str, data: bytes = b"") -> None:
        self.state.update(f"{kind}:{len(data)}:".encode())
        self.state.update(data)

    def feed(self, value: Any) -> None:
        value = _plain(value)
        if value is None or isinstance(value, (bool, int, float, complex, str)):
            self.put(type(value).__name__, repr(value).encode())
        elif isinstance(value, bytes):
            self.put("bytes", value)
        elif isinstance(value, (np.dtype, type)):
            self.put("type", str(value).encode())
        elif isinstance(value, enum.Enum):
            self.put(type(value).__qualname__, value.name.encode())
        elif isinstance(value, Mapping):
            self._mapping(value)
        elif isinstance(value, (Sequence, frozenset)):
            self._sequence(value)
        elif isinstance(value, ClosedJaxpr):
            self._jaxpr(value.jaxpr)
            self.feed(list(value.consts))
        elif isinstance(value, Jaxpr):
            self._jaxpr(value)
        elif hasattr(value, "__array__"):
            self._array(value)
        else:
            raise NoFingerprint(f"{type(value).__qualname__}")

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self.put("mapping", str(len(value)).encode())
        for key in sorted(value, key=str):
            self.feed(str(key))
            self.feed(value[key])

    def _sequence(self, value: Any) -> None:
        if isinstance(value, frozenset):
            value = sorted(value, key=str)
        self.put(type(value).__qualname__, str(len(value)).encode())
        for part in value:
            self.feed(part)

    def _array(self, value: Any) -> None:
        try:
            array = np.asarray(value)
        except TypeError as error:  # PRNG keys of the new style
            raise NoFingerprint(str(error)) from error
        if array.dtype.hasobject:
            raise NoFingerprint("an array of objects")
        self.put("array", f"{array.dtype}{array.shape}".encode())
        self.state.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")

    def _jaxpr(self, jaxpr: Jaxpr) -> None:
        outer, self.numbers = self.numbers, {}
        self.put("jaxpr")
        for var in (*jaxpr.constvars, *jaxpr.invars):
            self._define(var)
        for eqn in live_equations(jaxpr, jaxpr.outvars):
            self._equation(eqn)
        for atom in jaxpr.outvars:
            self._atom(atom)
        self.numbers = outer

    def _equation(self, eqn: JaxprEqn) -> None:
        self.put("equation", eqn.primitive.name.encode())
        self.put("context", repr(eqn.ctx).encode())
        for atom in eqn.invars:
            self._atom(atom)
        for name in sorted(eqn.params):
            self.feed(name)
            self.feed(eqn.params[name])
        for var in eqn.outvars:
            self._define(var)

    def _define(self, var: Var) -> None:
        self.numbers[var] = len(self.numbers)
        self._aval(var.aval)

    def _atom(self, atom: Any) -> None:
        if isinstance(atom, Literal):
            self._aval(atom.aval)
            self.feed(atom.val)
        else:
            self.put("var", str(self.numbers[atom]).encode())

    def _aval(self, aval: Any) -> None:
        shape = getattr(aval, "shape", ())
        weak = getattr(aval, "weak_type", False)
        self.put("aval", f"{aval.dtype}{[str(d) for d in shape]}{weak}".encode())


def _plain(value: Any) -> Any:
    """`value`, or its fields if it is a record of JAX such as dimension numbers."""
    module = type(value).__module__.partition(".")[0]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields and module in ("jax", "jaxlib"):
        return {"record": type(value).__qualname__, **{f: getattr(value, f) for f in fields}}
    if module in ("jax", "jaxlib") and type(value).__name__ in _TOLD_BY_REPR:
        return repr(value)
    return value
