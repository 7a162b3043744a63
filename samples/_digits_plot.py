"""The picture of `make demo`: what each device got right, how fast, and some of the digits."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, WRONG = "#1f2430", "#6b7280", "#e5e7eb", "#c2410c"
COLOURS = {"jax": "#9ca3af", "cpu": "#2563eb", "vulkan": "#0d9488", "cuda": "#65a30d"}
ROWS, COLUMNS = 4, 6


@dataclass(frozen=True)
class Bar:
    """One device: its name, test accuracy (0 to 1) and median seconds per image."""

    device: str
    accuracy: float
    seconds: float

    @property
    def colour(self) -> str:
        return COLOURS.get(self.device.split(":")[0], "#7c3aed")


def draw(
    path: Path,
    bars: list[Bar],
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    title: str,
) -> None:
    """Write the picture to ``path`` (png): images (n, 8, 8), labels and predicted (n,)."""
    matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK})
    figure = Figure(figsize=(12, 5.6), dpi=140, facecolor="white")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.05])
    left.subplots_adjust(left=0.17, right=0.9, top=0.82, bottom=0.08, hspace=0.55)
    accuracy, latency = left.subplots(2, 1)
    _draw_accuracy(accuracy, bars)
    _draw_latency(latency, bars)
    right.subplots_adjust(left=0.04, right=0.97, top=0.82, bottom=0.05, wspace=0.15, hspace=0.35)
    for axes, k in zip(
        right.subplots(ROWS, COLUMNS).flat, _choose(labels, predicted), strict=False
    ):
        _draw_digit(axes, images[k], int(labels[k]), int(predicted[k]))
    figure.text(0.035, 0.94, title, fontsize=14, fontweight="bold", va="center")
    note = "held-out digits and the class that the compiled model gives"
    right.text(0.04, 0.88, note, color=MUTED)
    figure.savefig(path)


def _choose(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The misread digits first (at most six), then others in the order of the data."""
    wrong = np.flatnonzero(labels != predicted)[:COLUMNS]
    right = np.flatnonzero(labels == predicted)
    return np.concatenate([wrong, right])[: ROWS * COLUMNS]


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=MUTED)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(which="both", length=0, colors=INK)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.invert_yaxis()


def _draw_accuracy(axes: Axes, bars: list[Bar]) -> None:
    values = [100 * bar.accuracy for bar in bars]
    axes.barh([b.device for b in bars], values, color=[b.colour for b in bars], height=0.6)
    _style(axes, "accuracy on held-out images, % (the axis starts at 90)")
    axes.set_xlim(90, 100)
    for row, value in enumerate(values):
        axes.text(value - 0.1, row, f"{value:.1f}", va="center", ha="right", color="white")


def _draw_latency(axes: Axes, bars: list[Bar]) -> None:
    values = [1e6 * bar.seconds for bar in bars]
    axes.barh([b.device for b in bars], values, color=[b.colour for b in bars], height=0.6)
    _style(axes, "time per image, µs, median (logarithmic)")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(min(values) / 3, max(values) * 3)
    for row, value in enumerate(values):
        axes.text(value * 1.08, row, f"{value:,.0f}", va="center", color=INK)


def _draw_digit(axes: Axes, image: np.ndarray, label: int, predicted: int) -> None:
    axes.imshow(image, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GRID)
    if label == predicted:
        axes.set_title(str(predicted), fontsize=10, pad=3)
    else:
        axes.set_title(f"{predicted}, not {label}", fontsize=9, pad=3, color=WRONG)
