"""What a caller may choose about the forms of recurrences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from recurrent_iree_compiler._fused import MOST_PARTS
from recurrent_iree_runtime import ArgumentError

Fallback = Literal["loop", "error"]


@dataclass(frozen=True)
class PlanOptions:
    """The choices of a caller about recurrences and the products around them.

    Attributes:
        fuse: whether recurrences become kernels where that is possible.
        fallback: what to do with one that cannot be fused: run it as a ``"loop"`` (the report says
            why), or raise an ``"error"``.
        data_tiling: whether products outside of the loops get packed operands on CPUs; ``None``
            leaves it to the cost model.
        side_by_side: whether kernels that do not need each other may run at once on CPUs, for
            more memory; ``None`` asks for it where there are such kernels.
        share: how many workgroups share each step of a kernel, with all its rows, on CPUs; 1 is
            none: rows are split. ``None`` leaves it to the cost model, which shares few rows only.
            More than the device has threads is allowed, and gives the same numbers.

    Raises:
        ArgumentError: `fallback` is something else, or `share` is not between 1 and 64.
    """

    fuse: bool = True
    fallback: Fallback = "loop"
    data_tiling: bool | None = None
    side_by_side: bool | None = None
    share: int | None = None

    def __post_init__(self) -> None:
        if self.fallback not in get_args(Fallback):
            raise ArgumentError(
                f'fallback is {self.fallback!r}; give "loop" to run a recurrence that cannot be '
                'fused as a loop, or "error" to refuse it'
            )
        if not _is_count(self.share):
            raise ArgumentError(
                f"share is {self.share!r}; give the number of workgroups that share a recurrence, "
                f"from 1 to {MOST_PARTS}, or None to leave it to the cost model"
            )


def _is_count(share: object) -> bool:
    if share is None:
        return True
    return isinstance(share, int) and share is not True and 1 <= share <= MOST_PARTS
