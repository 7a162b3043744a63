"""What the planner decided for one recurrence, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal[
    "fused kernel", "nested loop", "loops in a row", "steps in a row", "plain loop", "single step"
]


@dataclass(frozen=True)
class Decision:
    """The form chosen for one recurrence on one target.

    Attributes:
        recurrence: symbol of the recurrence in the linked module.
        form: how it is executed.
        reason: one sentence that says why this form, and why no faster one.
        steps: the number of time steps, or ``None`` if it is not static.
        details: more about the form, as JSON (chunk sizes, stages, tiles).
    """

    recurrence: str
    form: Form
    reason: str
    steps: int | None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON for the report of the artifact."""
        return {
            "recurrence": self.recurrence,
            "form": self.form,
            "reason": self.reason,
            "steps": self.steps,
            "details": self.details,
        }
