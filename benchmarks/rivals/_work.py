"""What is measured: one `Work` is one row of the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

CLASSIC = ("lstm", "gru", "simple_rnn")
CUSTOM = (
    "peephole",
    "layer_norm_lstm",
    "coupled_gates",
    "minimal_gated_unit",
    "sru",
    "leaky_integrator",
    "attention",
    "two_layers",
    "decoder",
)
KINDS = ("sequence", "step", "gradients")
CLASSIC_GOAL, CUSTOM_GOAL = 1.0, 0.6


@dataclass(frozen=True)
class Work:
    """A cell, its sizes (features equal units) and what is done with it."""

    cell: str
    batch: int
    width: int
    steps: int
    kind: str = "sequence"

    @property
    def name(self) -> str:
        """Such as ``lstm B1 H128 T100``."""
        sizes = f"{self.cell} B{self.batch} H{self.width}"
        if self.kind == "step":
            return f"{sizes} one step"
        suffix = " gradients" if self.kind == "gradients" else ""
        return f"{sizes} T{self.steps}{suffix}"

    @property
    def goal(self) -> float:
        """The largest ratio to the best rival that counts as reached."""
        return CUSTOM_GOAL if self.cell in CUSTOM else CLASSIC_GOAL

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


GROWTH = tuple(Work("lstm", 1, 128, steps) for steps in (256, 4096))
MEMORY = Work("lstm", 32, 256, 1000)


def tiny() -> list[Work]:
    """A few rows that take a second each: to try the harness."""
    works = [Work(cell, 2, 8, 5) for cell in (*CLASSIC, *CUSTOM)]
    return [*works, Work("lstm", 1, 8, 1, "step"), Work("lstm", 2, 8, 5, "gradients")]


def quick() -> list[Work]:
    """The rows of a run of a few minutes."""
    works = [Work("lstm", b, h, 100) for b, h in ((1, 128), (1, 256), (1, 512), (1, 1024))]
    works += [Work("lstm", b, h, 100) for b, h in ((8, 256), (32, 128), (32, 256), (32, 200))]
    works += [Work(c, b, h, 100) for c in CLASSIC[1:] for b, h in ((1, 128), (1, 512), (32, 256))]
    works += GROWTH
    works += [Work("lstm", 1, h, 1, "step") for h in (64, 256)]
    works += [Work(cell, b, 128, 100) for cell in CUSTOM for b in (1, 32)]
    works += [Work("lstm", 32, 256, 100, "gradients")]
    return works


def full() -> list[Work]:
    """Every row that the goals name."""

    def classic() -> Iterator[Work]:
        for cell in CLASSIC:
            for width in (64, 96, 128, 200, 256, 512, 1024):
                for batch in (1, 8, 32):
                    for steps in (100, 1000):
                        yield Work(cell, batch, width, steps)

    works = list(classic())
    works += [Work(c, b, h, 100) for c in CUSTOM for b in (1, 8, 32) for h in (64, 128, 256)]
    works += GROWTH
    works += [Work("lstm", 1, h, 1, "step") for h in (64, 256)]
    works += [Work("lstm", 32, 256, 100, "gradients")]
    return works
