"""Rows of an earlier run that stay in the table: the full one takes hours, in several sittings."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._work import Work

_SAME = ("cpu", "family", "cores", "caches")

Row = dict[str, Any]


def read_earlier(path: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """The results in `path`; refused if they are from another machine."""
    results = json.loads(path.read_text())
    other = [key for key in _SAME if results["machine"][key] != machine[key]]
    if other:
        raise SystemExit(
            f"--keep {path}: those rows are from another machine (its {', '.join(other)}); "
            "ratios of one table must come from one machine"
        )
    return results


def merged(earlier: Sequence[Row], new: Sequence[Row], order: Sequence[Work]) -> list[Row]:
    """All rows in the given order, the new ones in place of earlier ones of the same name."""
    rows = {row["name"]: row for row in [*earlier, *new]}
    names = [work.name for work in order if work.name in rows]
    return [rows[name] for name in dict.fromkeys([*names, *rows])]


def commit() -> str:
    """The commit that is measured, with a mark if files differ from it; ``unknown`` without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    root = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def told(rows: Sequence[Row]) -> str:
    """Which rows are of which commit and day, in a sentence; empty if all are of one."""
    counts = Counter(
        (row.get("commit", "unknown"), row.get("date", "an unknown day")) for row in rows
    )
    if len(counts) < 2:
        return ""
    parts = [f"{n} on {day} at {name}" for (name, day), n in counts.most_common()]
    return f"Measured in several sittings: {', '.join(parts)}."
