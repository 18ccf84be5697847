"""Small charts for reports: curves, histograms, confusion matrices and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from taskprism.errors import InputError
from taskprism.visualization.curves import Points, as_svg
from taskprism.visualization.plotting import LINES, STROKES, plot_style, tidy

SIZE = (4.3, 2.6)  # inches
MANY = 12  # classes; the cells of larger matrices have no numbers


def line_chart(
    lines: Mapping[str, Points], label: str, horizontal: str = "epoch", log: bool = False
) -> str:
    """SVG with lines over epochs.

    Args:
        lines: Name -> points; a single line has no legend.
        label: Label of the vertical axis.
        horizontal: Label of the horizontal axis.
        log: Whether the vertical axis is logarithmic; only where all values are above 0.

    Raises:
        InputError: There is no point.

    Example:
        >>> line_chart({"depth": [(1, 0.5), (2, 0.4)]}, "training loss").startswith("<?xml")
        True
    """
    if not any(lines.values()):
        raise InputError("Expected at least one point to draw, got none.")
    with plot_style():
        figure, axis = _axes()
        for index, (name, points) in enumerate(lines.items()):
            if points:
                color, stroke = LINES[index % len(LINES)], STROKES[index // len(LINES) % 4]
                marker = "o" if len(points) <= 60 else ""
                axis.plot(
                    *zip(*points, strict=True),
                    color=color,
                    ls=stroke,
                    marker=marker,
                    markersize=2.5,
                    lw=1.4,
                    label=name,
                )
        if log and all(value > 0 for points in lines.values() for _, value in points):
            axis.set_yscale("log")
        axis.set_xlabel(horizontal)
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        tidy(axis)
        if sum(map(bool, lines.values())) > 1:
            figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        return as_svg(figure)


def histogram_chart(
    edges: Sequence[float],
    shares: Sequence[float],
    label: str,
    marks: Mapping[str, float] | None = None,
) -> str:
    """SVG with the bars of a histogram.

    Args:
        edges: Ends of the bins, one more than ``shares``.
        shares: Share of each bin, in [0, 1].
        label: Label of the horizontal axis.
        marks: Name -> value where a vertical line is drawn.

    Example:
        >>> histogram_chart([0, 1, 2], [0.7, 0.3], "error (m)", {"median": 0.6})[:5]
        '<?xml'
    """
    with plot_style():
        figure, axis = _axes()
        axis.bar(edges[:-1], shares, np.diff(edges), align="edge", color=LINES[0], alpha=0.8)
        for index, (name, value) in enumerate((marks or {}).items()):
            axis.axvline(value, color=LINES[1], ls=STROKES[index % 4], lw=1.4, label=name)
        axis.set_xlim(edges[0], edges[-1])
        axis.set_xlabel(label)
        axis.set_ylabel("share of pixels")
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        tidy(axis)
        if marks:
            axis.legend(frameon=False, fontsize=8)
        return as_svg(figure)


def confusion_chart(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """SVG of a confusion matrix: percent of the pixels of each label that get each prediction.

    Args:
        counts: Pixels by label (rows) and prediction (columns).
        rows: Names of the labels.
        columns: Names of the predictions.

    Example:
        >>> confusion_chart(np.eye(2), ["floor", "wall"], ["floor", "wall"]).startswith("<?xml")
        True
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    height, width = shares.shape
    cell = 0.5 if max(height, width) <= MANY else 0.24
    with plot_style():
        figure = Figure(figsize=(1.6 + cell * width, 1.3 + cell * height), layout="constrained")
        axis = figure.add_subplot()
        for row in range(height):
            for column in range(width):
                share = float(shares[row, column])
                box = Rectangle((column - 0.5, row - 0.5), 1, 1, color=LINES[0], alpha=0.75 * share)
                box.set_linewidth(0)
                axis.add_patch(box)
                if cell == 0.5 and share >= 0.005:
                    axis.text(
                        column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8
                    )
        axis.set_xlim(-0.5, width - 0.5)
        axis.set_ylim(height - 0.5, -0.5)
        axis.set_aspect("equal")
        axis.set_xticks(range(width), columns, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(height), rows)
        axis.tick_params(length=0)
        axis.set_xlabel("prediction")
        axis.set_ylabel("label")
        return as_svg(figure)


def calibration_chart(stated: np.ndarray, held: np.ndarray, shares: np.ndarray) -> str:
    """SVG of how often predictions of a stated probability come true, with the number of pixels.

    Args:
        stated: Mean probability of each bin; NaN for an empty bin.
        held: Share of each bin for which the prediction was true; NaN for an empty bin.
        shares: Share of all pixels in each bin.

    Example:
        >>> calibration_chart(np.array([0.5, 0.9]), np.array([0.4, 0.8]), np.array([0.5, 0.5]))[:5]
        '<?xml'
    """
    known = np.isfinite(stated)
    with plot_style():
        figure, axis = _axes()
        axis.plot([0, 1], [0, 1], color=LINES[1], ls="--", lw=1, label="calibrated")
        edges = np.linspace(0, 1, len(shares) + 1)
        axis.bar(
            edges[:-1],
            shares,
            np.diff(edges),
            align="edge",
            color=LINES[0],
            alpha=0.25,
            label="share of pixels",
        )
        axis.plot(
            stated[known], held[known], color=LINES[0], marker="o", markersize=3, label="measured"
        )
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_xlabel("stated probability")
        axis.set_ylabel("came true")
        tidy(axis)
        axis.legend(frameon=False, fontsize=8)
        return as_svg(figure)


def rounded(value: float) -> str:
    """A number with three digits, for captions.

    Example:
        >>> rounded(0.12345), rounded(12345.0), rounded(float("nan"))
        ('0.123', '12345', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.add_subplot()
