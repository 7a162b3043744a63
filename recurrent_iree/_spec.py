"""Specs: the shapes of a program's inputs, with named dims."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

TIME = "time"

_NAMED = re.compile(r"([A-Za-z_]\w*)=(\?|\d+(?:\|\d+)*)")


@dataclass(frozen=True)
class Dim:
    """One axis of an input.

    Attributes:
        name: what the axis is called, or ``None`` for an anonymous static size.
        sizes: the sizes it may have, or ``None`` for any.
    """

    name: str | None
    sizes: tuple[int, ...] | None

    def __str__(self) -> str:
        sizes = "?" if self.sizes is None else "|".join(map(str, self.sizes))
        return sizes if self.name is None else f"{self.name}={sizes}"


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of one input; made by `spec`."""

    dims: tuple[Dim, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"

    @property
    def time_axis(self) -> int | None:
        """The position of the dim called ``time``, or ``None``."""
        names = [dim.name for dim in self.dims]
        return names.index(TIME) if TIME in names else None

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """The concrete shape when each named dim has the size given in `sizes`."""
        return tuple(
            sizes[dim.name] if dim.name is not None else math.prod(dim.sizes or ())
            for dim in self.dims
        )


def spec(*dims: int | str, dtype: Any = "float32") -> Spec:
    """Describe one input of a program: its axes in order, and its dtype.

    Args:
        *dims: one entry for each axis. An ``int`` is a static size. A string names the axis and
            says which sizes it may have: ``"batch=1"`` (static), ``"time=8|16"`` (one of these)
            or ``"time=?"`` (any). The axis called ``time`` is the one that recurrences run along.
            In a program with loops, another dim of any size is for CPUs and XLA only.
        dtype: anything that names a NumPy or JAX dtype.

    Returns:
        The spec, to be passed to `recurrent_iree.compile` in the place of the input.

    Raises:
        ArgumentError: a dim cannot be read, is negative, or a name occurs twice.
        ArgumentTypeError: a dim is neither ``int`` nor ``str``, or the dtype is unknown.

    Example:
        >>> import recurrent_iree as ri
        >>> str(ri.spec("batch=1", "time=?", 40))
        'float32[batch=1, time=?, 40]'
    """
    parsed = tuple(_parse(dim) for dim in dims)
    names = [dim.name for dim in parsed if dim.name is not None]
    if len(names) != len(set(names)):
        raise ArgumentError(
            f"spec: a dim name occurs twice in {names}; give each axis a name of its own"
        )
    try:
        name = np.dtype(jnp.dtype(dtype)).name
    except TypeError as error:
        raise ArgumentTypeError(
            f"spec: dtype {dtype!r} is not a dtype; give a name such as 'float32' or 'int32'"
        ) from error
    return Spec(parsed, name)


def _parse(dim: int | str) -> Dim:
    if isinstance(dim, (int, np.integer)) and not isinstance(dim, bool):
        if dim < 0:
            raise ArgumentError(f"spec: a dim is {dim}; sizes are 0 or more")
        return Dim(None, (int(dim),))
    if not isinstance(dim, str):
        raise ArgumentTypeError(
            f"spec: a dim is {dim!r} of type {type(dim).__name__}; "
            'give an int or a string such as "batch=1", "time=8|16" or "time=?"'
        )
    match = _NAMED.fullmatch(dim.replace(" ", ""))
    if match is None:
        raise ArgumentError(
            f'spec: cannot read the dim {dim!r}; write "batch=1", "time=8|16" or "time=?"'
        )
    name, sizes = match.groups()
    if sizes == "?":
        return Dim(name, None)
    return Dim(name, tuple(sorted({int(size) for size in sizes.split("|")})))
