"""Precision-recall curves with lines of equal F."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from taskprism.errors import DataError
from taskprism.metrics.boundaries.scores import BoundaryScores

_LEVELS = np.arange(1, 10) / 10


def plot_curves(scores: Mapping[str, BoundaryScores], path: Path | str) -> None:
    """Write a plot of one or more curves; a dot marks the threshold of odsF.

    Args:
        scores: Scores by name; the legend lists them, best first.
        path: Output file; its ending selects the format (png, pdf, svg).

    Raises:
        DataError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> from taskprism.metrics.boundaries import BoundaryCounts, convention
        >>> scores = BoundaryScores.of(BoundaryCounts.zero(99), convention("default"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_curves({"detector": scores}, Path(folder, "curve.png"))
        ...     Path(folder, "curve.png").exists()
        True
    """
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_levels(axes)
    order = sorted(scores.items(), key=lambda item: -item[1].ods_f)
    for number, (name, result) in enumerate(order):
        best = int(np.argmax(result.f))
        # Empty maps have no meaningful precision and are not drawn.
        drawn = result.recall > 0
        (line,) = axes.plot(
            result.recall[drawn],
            result.precision[drawn],
            color=f"C{number}",
            linewidth=2,
            label=f"{name}: F = {result.ods_f:.3f}",
        )
        axes.plot(result.recall[best], result.precision[best], "o", color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Recall", ylabel="Precision", aspect="equal")
    axes.set_xticks(np.arange(11) / 10)
    axes.set_yticks(np.arange(11) / 10)
    axes.legend(loc="lower left", framealpha=0.95)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the plot cannot be written ({error}).") from error


def _draw_levels(axes: Axes) -> None:
    """Draw lines of equal F, 0.1 .. 0.9, with labels at the right border."""
    for level in _LEVELS:
        # F = 2PR / (P + R) = level if P = level * R / (2R - level), which is 1 at this recall:
        recall = np.linspace(level / (2 - level), 1, 200)
        axes.plot(recall, level * recall / (2 * recall - level), color="0.8", linewidth=0.8)
        axes.annotate(
            f"{level:.1f}",
            (1, level / (2 - level)),
            xytext=(3, 0),
            textcoords="offset points",
            color="0.5",
            fontsize=8,
            va="center",
        )
