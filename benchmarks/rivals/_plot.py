"""The ratios as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ._table import ratio_of


def plot(results: dict[str, Any], path: Path) -> None:
    """One bar for each row and number of threads, on a logarithmic axis; raises `ImportError`."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = results["rows"]
    threads = [str(t) for t in results["threads"]]
    height = 0.8 / max(len(threads), 1)
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.32 * len(rows)), layout="constrained")
    for i, count in enumerate(threads):
        ratios = [ratio_of(row["threads"].get(count, {})) for row in rows]
        places = [y + (i - (len(threads) - 1) / 2) * height for y in range(len(rows))]
        shown = [(y, r) for y, r in zip(places, ratios, strict=True) if r is not None]
        label = f"{count} thread{'s' * (count != '1')}"
        axes.barh([y for y, _ in shown], [r - 1 for _, r in shown], height, left=1, label=label)
        for y, r in shown:
            side = "left" if r >= 1 else "right"
            axes.text(r, y, f" {r:.2f} ", va="center", ha=side, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    for y, row in enumerate(rows):
        axes.plot([row["goal"]] * 2, [y - 0.45, y + 0.45], color="tab:red", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15, y=0.01)
    axes.set_xlabel("our time over that of the best rival (red: goal)")
    axes.set_title(f"{results['machine']['cpu']}, {results['date']}", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
