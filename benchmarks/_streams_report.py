"""What `benchmarks.streams` found, as JSON and as a page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
_HEAD = "| way | steps/s | x sessions | x ort one | x ort stacked |"


def rows(title: str, results: dict[str, tuple[float, list[np.ndarray]]]) -> Iterator[Row]:
    """Rates and ratios; raises `AssertionError` if two ways computed different numbers."""
    wanted = results["ort stacked"][1]
    for name, (rate, outputs) in results.items():
        for got, want in zip(outputs, wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
        yield {
            "ready": title,
            "way": name,
            "steps_per_second": round(rate),
            "x_sessions": round(rate / results["sessions"][0], 2),
            "x_ort_one": round(rate / results["ort one"][0], 2),
            "x_ort_stacked": round(rate / results["ort stacked"][0], 2),
        }


def markdown(found: dict[str, Any]) -> str:
    """The results as a page."""
    machine, lines = found["machine"], [f"# {found['what']}", ""]
    lines.append(
        f"{machine['cpu']}{' (virtual)' if machine['virtual'] else ''}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB; {machine['system']}, Python {machine['python']}, "
        f"IREE {found['iree']}, ONNX Runtime {found['onnxruntime']}. {found['settings']}. Load "
        f"before: {machine['load'][0]}. Steps per second, medians of {found['rounds']} rounds in "
        "which the ways take turns."
    )
    for title in dict.fromkeys(row["ready"] for row in found["rows"]):
        lines += ["", f"## {title}", "", _HEAD, "|---|---|---|---|---|"]
        for row in found["rows"]:
            if row["ready"] == title:
                lines.append(f"| {row['way']} | {row['steps_per_second']:,} | {row['x_sessions']} "
                             f"| {row['x_ort_one']} | {row['x_ort_stacked']} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def write(found: dict[str, Any], folder: Path) -> None:
    """`<date>-<processor>-streams.json` and `.md`."""
    cpu = re.sub(r"[^a-z0-9]+", "-", found["machine"]["cpu"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{found['date']}-{cpu}-streams"
    (folder / f"{stem}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    (folder / f"{stem}.md").write_text(markdown(found))
