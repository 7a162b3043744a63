"""The ratios as a picture: a line for each cell, batch and length, a column for each width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._table import ratio_of, reached

_FACTOR = 2.0  # the colours end at this ratio and at its inverse


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Write a panel for each number of threads; raises `ImportError` without matplotlib."""
    figure_of(results).savefig(path, dpi=130)


def figure_of(results: Mapping[str, Any]) -> Any:
    """The picture as a figure of matplotlib."""
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(_line(row) for row in results["rows"]))
    widths = sorted({row["work"]["width"] for row in results["rows"]})
    threads = [str(count) for count in results["threads"]]
    size = (2.2 + 0.5 * len(widths) * len(threads), 1.4 + 0.2 * len(lines))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)
    for axes, count in zip(panels[0], threads, strict=True):
        _panel(axes, results["rows"], count, lines, widths)
        axes.set_title(f"{count} thread{'s' * (count != '1')}", fontsize=9)
    panels[0][0].set_yticks(range(len(lines)), lines, fontsize=7)
    figure.suptitle(
        f"Our time over that of the best rival (framed: goal missed)\n"
        f"{results['machine']['cpu']}, {results['date']}",
        fontsize=9,
    )
    return figure


def _line(row: Mapping[str, Any]) -> str:
    work = row["work"]
    return row["name"].replace(f" H{work['width']}", "")


def _panel(
    axes: Any, rows: Sequence[Any], threads: str, lines: Sequence[str], widths: Sequence[int]
) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    colours = LogNorm(1 / _FACTOR, _FACTOR)
    grid = [[float("nan")] * len(widths) for _ in lines]
    for row in rows:
        ratio = ratio_of(row["threads"].get(threads, {}))
        if ratio is None:
            continue
        y, x = lines.index(_line(row)), widths.index(row["work"]["width"])
        grid[y][x] = ratio
        axes.text(x, y, f"{ratio:.2f}", ha="center", va="center", fontsize=6)
        if not reached(row, threads):
            axes.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, fill=False, linewidth=1.2))
    axes.imshow(grid, cmap="RdYlGn_r", norm=colours, aspect="auto", alpha=0.75)
    axes.set_xticks(range(len(widths)), [f"H{width}" for width in widths], fontsize=7)
    axes.tick_params(length=0, top=True, labeltop=True)
