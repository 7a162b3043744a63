"""Into how many pieces a long loop is cut, so that what is computed for all its steps stays small.

The products of the inputs for all steps go through memory if they are larger than the caches: they
are written whole before the loop reads them. In pieces each is read while it is still in a cache,
and only one piece is in memory. Where there are enough rows, the kernels of CPUs take such products
into the loop, and it stays whole.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from recurrent_iree_compiler import kernel_multiplies

from ._split import PLAIN, Split, variables

LARGE = 4 << 20
PIECE = 5 << 18
MOST = 10
LARGEST_PIECE = 26 << 20
"""What a large third-level cache holds beside the weights; longer loops have more than `MOST`."""


def number_of_pieces(split: Split, length: Any) -> int:
    """1, or a few, so that a piece of what is hoisted is about `PIECE` bytes."""
    if not isinstance(length, int) or length < 2 or _stays_in_kernels(split.before):
        return 1
    made = {v for eqn in split.before for v in eqn.outvars}
    read = variables(a for eqn in (*split.loop, *split.after) for a in eqn.invars)
    step = sum(size_in_bytes(v.aval) for v in read if v in made)
    if length * step < LARGE:
        return 1
    return pieces_of(length * step, length)


def pieces_of(size: int, length: int) -> int:
    """Into how many pieces `size` bytes for `length` steps are cut.

    >>> pieces_of(8 << 20, 100), pieces_of(64 << 20, 100), pieces_of(500 << 20, 1000)
    (6, 10, 20)
    """
    wanted = max(min(MOST, size // PIECE), -(-size // LARGEST_PIECE))
    return max(1, min(wanted, length // 4))


def _stays_in_kernels(equations: list[JaxprEqn]) -> bool:
    """Whether kernels compute `equations` themselves: products of many rows with a matrix."""
    products = [eqn for eqn in equations if eqn.primitive.name == "dot_general"]
    plain = all(eqn.primitive.name in PLAIN for eqn in equations)
    return plain and all(
        kernel_multiplies(_rows(eqn), size_in_bytes(eqn.invars[1].aval)) for eqn in products
    )


def _rows(eqn: JaxprEqn) -> int:
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape  # pyright: ignore
    if batch or any(not isinstance(n, int) for n in shape):
        return 0
    return math.prod(n for axis, n in enumerate(shape) if axis not in contracted)


def size_in_bytes(aval: Any) -> int:
    """Of an array; 0 if its sizes are not known."""
    if any(not isinstance(n, int) for n in aval.shape):
        return 0
    return math.prod(aval.shape) * np.dtype(aval.dtype).itemsize
