"""What a function takes and returns, as MLIR types, and how the edge of a module differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recurrent_iree_runtime import ArgumentError, Entry, Function, Leaf, dtype_name

from ._program import Program

_ELEMENTS = {
    "bool": "i1",
    "bfloat16": "bf16",
    "complex64": "complex<f32>",
    "complex128": "complex<f64>",
    "float8_e4m3fn": "f8E4M3FN",
    "float8_e4m3fnuz": "f8E4M3FNUZ",
    "float8_e5m2": "f8E5M2",
    "float8_e5m2fnuz": "f8E5M2FNUZ",
}


@dataclass(frozen=True)
class Value:
    """One array that crosses the edge: its name and type inside and at the edge."""

    name: str
    inner: str
    edge: str


@dataclass(frozen=True)
class Signature:
    """The arguments (after the weights) and the results of one function."""

    arguments: tuple[Value, ...]
    results: tuple[Value, ...]


Shape = tuple[int | None, ...]


def element_type(dtype: str) -> str:
    """The MLIR element type of a manifest dtype.

    >>> element_type("float32"), element_type("uint8"), element_type("bool")
    ('f32', 'ui8', 'i1')
    """
    if dtype in _ELEMENTS:
        return _ELEMENTS[dtype]
    for word, letter in (("float", "f"), ("uint", "ui"), ("int", "i")):
        if dtype.startswith(word):
            return letter + dtype.removeprefix(word)
    raise ArgumentError(f"dtype {dtype!r} has no MLIR type")


def tensor_type(shape: Shape, dtype: str) -> str:
    """The MLIR type of an array; a size of `None` is dynamic."""
    sizes = ("?x" if n is None else f"{n}x" for n in shape)
    return f"tensor<{''.join(sizes)}{element_type(dtype)}>"


def _value(name: str, shape: Shape, dtype: str, abi: Mapping[str, str]) -> Value:
    edge = tensor_type(shape, abi.get(dtype, dtype))
    return Value(name, tensor_type(shape, dtype), edge)


def _leaf(program: Program, leaf: Leaf, function: Function, abi: Mapping[str, str]) -> Value:
    anything = {dim.name for dim in program.dims if dim.sizes is None}
    shape: list[int | None] = []
    for size in leaf.shape:
        if isinstance(size, str):
            if size not in function.dims and size not in anything:
                raise ArgumentError(
                    f"the function {function.symbol!r} has no size for the dim {size!r} "
                    f"of {leaf.name!r}"
                )
            size = function.dims.get(size)
        shape.append(size)
    return _value(leaf.name, tuple(shape), leaf.dtype, abi)


def weight_values(program: Program, abi: Mapping[str, str]) -> list[Value]:
    """The weights in their order, with the type that the runtime provides them in."""
    return [_value(k, w.shape, dtype_name(w.dtype), abi) for k, w in program.weights.items()]


def signature_of(
    program: Program, entry: Entry, function: Function, abi: Mapping[str, str]
) -> Signature:
    """What `function` of `entry` takes after the weights, and returns."""
    states = program.states if entry.name in ("chunk", "init") else ()
    taken = (*entry.inputs, *(states if entry.name == "chunk" else ()))
    given = (*(leaf for leaf in entry.outputs if leaf.from_input is None), *states)
    return Signature(
        tuple(_leaf(program, leaf, function, abi) for leaf in taken),
        tuple(_leaf(program, leaf, function, abi) for leaf in given),
    )
