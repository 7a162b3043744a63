"""How reshapes and products map axes onto axes."""

from __future__ import annotations

from ._ir import Op

Shape = tuple[int, ...]


def reshape_groups(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of neighbouring axes with equal products; axes of size 1 are left out.

    Example:
        >>> reshape_groups((2, 12), (2, 1, 3, 4))
        [([0], [0]), ([1], [2, 3])]
    """
    left = [a for a, n in enumerate(source) if n != 1]
    right = [a for a, n in enumerate(target) if n != 1]
    groups = []
    i = j = 0
    while i < len(left):
        group = ([left[i]], [right[j]])
        a, b = source[left[i]], target[right[j]]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                group[0].append(left[i])
                a, i = a * source[left[i]], i + 1
            else:
                group[1].append(right[j])
                b, j = b * target[right[j]], j + 1
        groups.append(group)
    return groups


def product_axes(op: Op) -> list[list[tuple[int, int]]]:
    """For each axis of a product: the (side, axis) of the operands that it comes from."""
    at = op.attrs
    axes = [[(0, a), (1, b)] for a, b in zip(at["lhs_batch"], at["rhs_batch"], strict=True)]
    for side, name in enumerate(("lhs", "rhs")):
        fixed = (*at[f"{name}_batch"], *at[f"{name}_contract"])
        rank = len(op.operands[side].shape)
        axes.extend([(side, a)] for a in range(rank) if a not in fixed)
    return axes
