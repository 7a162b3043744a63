"""From how many rows on a kernel makes the products of its inputs, and chains those of a step."""

from __future__ import annotations

FEWEST_ROWS = 8
"""With fewer, a step does not hide that it reads the weights of the inputs, too, and sums that do
not wait for each other are worth more than registers."""
MOST_CACHES = 4
"""Larger weights, in second-level caches, may not stay in any cache until the next step."""
LARGEST_L2 = 1 << 20
"""The second-level cache of the largest processors that are compiled for."""


def kernel_multiplies(rows: int, matrix: int, l2: int = LARGEST_L2) -> bool:
    """Whether a kernel of a CPU multiplies `rows` rows of its inputs with a matrix itself.

    Args:
        rows: how many rows share each weight that is read.
        matrix: bytes of the matrix.
        l2: bytes of a second-level cache; who does not know the processor leaves it out.

    Example:
        >>> kernel_multiplies(8, 4 << 20), kernel_multiplies(4, 1024)
        (True, False)
    """
    return rows >= FEWEST_ROWS and matrix <= MOST_CACHES * l2
