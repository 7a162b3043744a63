"""The report of a build: what was decided for each target, and how it was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._plan import Decision

Status = Literal["verified", "failed", "not run"]


@dataclass(frozen=True)
class Verification:
    """How the module of one target was checked at build time.

    Attributes:
        status: ``verified`` against the golden calls, ``failed``, or ``not run``.
        reason: why it failed or was not run; empty if it was verified.
        calls: how many golden calls were compared.
    """

    status: Status
    reason: str = ""
    calls: int = 0


@dataclass
class TargetReport:
    """One target of a build.

    Attributes:
        target: its name.
        flags: the compiler flags that choose the device.
        note: a choice that was made for the caller, as a sentence.
        decisions: the form of each recurrence.
        products: whether products outside of the loops get packed operands, and why.
        lengths: how sequences of any length are run, if the program takes them.
        schedule: whether kernels run side by side, and why.
        size: bytes of the module; 0 for XLA, which compiles when it loads.
        verification: how it was checked.
    """

    target: str
    flags: tuple[str, ...]
    note: str = ""
    decisions: list[Decision] = field(default_factory=list)
    products: str = ""
    lengths: str = ""
    schedule: str = ""
    size: int = 0
    verification: Verification = field(default_factory=lambda: Verification("not run"))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON; it holds no times, so that artifacts are reproducible."""
        return {
            "target": self.target,
            "flags": list(self.flags),
            "note": self.note,
            "recurrences": [decision.to_json() for decision in self.decisions],
            "products": self.products,
            "lengths": self.lengths,
            "schedule": self.schedule,
            "size": self.size,
            "verification": {
                "status": self.verification.status,
                "reason": self.verification.reason,
                "calls": self.verification.calls,
            },
        }


Report = list[TargetReport]


def report_json(captured: Mapping[str, Any], report: Report) -> bytes:
    """The member ``report.json``: sorted keys, two spaces, ASCII.

    `captured` is what the authoring side says of the program; it stands under ``program``.
    """
    document = {"program": dict(captured), "targets": [target.to_json() for target in report]}
    return (json.dumps(document, sort_keys=True, indent=2) + "\n").encode()
