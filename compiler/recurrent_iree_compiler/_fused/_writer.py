"""Writing MLIR text: names, scopes, constants, and index arithmetic."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._index import Affine, variable

# The type that a value has in registers, by its element type in memory.
COMPUTE = {"bf16": "f32", "f16": "f32"}


def compute_dtype(dtype: str) -> str:
    """The type in registers: half precision is computed in f32, unsigned is signless in MLIR."""
    dtype = COMPUTE.get(dtype, dtype)
    return dtype.removeprefix("u")


def storage_dtype(dtype: str) -> str:
    """The type in memory: a bool takes a byte."""
    return "i8" if dtype == "i1" else dtype.removeprefix("u")


def is_float(dtype: str) -> bool:
    return dtype in ("f32", "f64", "bf16", "f16")


def vector(dtype: str, lanes: int) -> str:
    """A vector type, or the scalar for ``lanes == 0``."""
    return f"vector<{lanes}x{dtype}>" if lanes else dtype


def literal(value: Any, dtype: str) -> str:
    """`value` as an MLIR constant of `dtype`; infinities and NaN by their bits."""
    if not is_float(dtype):
        if dtype == "i1":
            return "true" if value else "false"
        return str(_signed(int(value), int(dtype.removeprefix("u")[1:])))
    number = float(value)
    if math.isfinite(number):
        return f"{number:.17e}"
    code = {"f32": "<f", "f64": "<d"}[dtype]
    return "0x" + struct.pack(code, number)[::-1].hex().upper()


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >= 1 << (bits - 1) else value


class Writer:
    """Lines of one function; what is computed once in a scope is found again by its key."""

    def __init__(self) -> None:
        self.constants: list[str] = []
        self.lines: list[str] = []
        self.scopes: list[dict[Any, Any]] = [{}]
        self.counter = 0

    def fresh(self) -> str:
        self.counter += 1
        return f"%{self.counter}"

    def line(self, text: str) -> None:
        self.lines.append("  " * len(self.scopes) + text)

    def op(self, text: str) -> str:
        """Emit an operation with one result, once for each scope."""
        known = self.find(text)
        if known is None:
            known = self.fresh()
            self.line(f"{known} = {text}")
            self.remember(text, known)
        return known

    def constant(self, value: Any, dtype: str, lanes: int = 0) -> str:
        text = literal(value, dtype)
        kind = vector(dtype, lanes)
        body = f"arith.constant dense<{text}> : {kind}" if lanes else ""
        if not lanes:
            body = f"arith.constant {text}" + ("" if dtype == "i1" else f" : {kind}")
        return self.hoisted(body)

    def index(self, value: int) -> str:
        return self.hoisted(f"arith.constant {value} : index")

    def hoisted(self, body: str) -> str:
        """An operation without operands, at the head of the function."""
        if body not in self.scopes[0]:
            name = self.fresh()
            self.constants.append(f"  {name} = {body}")
            self.scopes[0][body] = name
        return self.scopes[0][body]

    def find(self, key: Any) -> Any:
        for scope in reversed(self.scopes):
            if key in scope:
                return scope[key]
        return None

    def remember(self, key: Any, value: Any) -> None:
        self.scopes[-1][key] = value

    @contextmanager
    def scope(self) -> Iterator[None]:
        self.scopes.append({})
        try:
            yield
        finally:
            self.scopes.pop()

    @contextmanager
    def dry_run(self) -> Iterator[None]:
        """Emit nothing: lines and names known from inside are forgotten."""
        lines, constants = len(self.lines), len(self.constants)
        head = dict(self.scopes[0])
        self.scopes.append({})
        try:
            yield
        finally:
            self.scopes.pop()
            self.scopes[0] = head
            del self.lines[lines:], self.constants[constants:]

    @contextmanager
    def loop(self, stop: int, first: str = "", step: int = 1) -> Iterator[Affine]:
        """A loop from 0 or `first` to `stop` without results; none at all for a single trip."""
        if stop == 1 and not first:
            with self.scope():
                yield Affine()
            return
        name = self.fresh()
        start = first or self.index(0)
        self.line(f"scf.for {name} = {start} to {self.index(stop)} step {self.index(step)} {{")
        with self.scope():
            yield variable(name)
        self.line("}")

    def address(self, at: Affine) -> str:
        """The number that `at` stands for."""
        total = None
        for name, factor in at.terms:
            term = name
            if factor != 1:
                term = self.op(f"arith.muli {name}, {self.index(factor)} : index")
            total = term if total is None else self.op(f"arith.addi {total}, {term} : index")
        if total is None:
            return self.index(at.const)
        if at.const:
            total = self.op(f"arith.addi {total}, {self.index(at.const)} : index")
        return total
