"""Look of all plots, and files of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.errors import CheckpointError

# Okabe and Ito's colors, which color-blind readers can tell apart.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STROKES = ("-", "--", ":", "-.")
DOTS_PER_INCH = 110


@contextmanager
def plot_style() -> Iterator[None]:
    """Small type, and text as shapes in SVG files, while a figure is made."""
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "path"}):
        yield


def tidy(axis: Axes) -> None:
    """Light lines to read values by, no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e6ea", lw=0.7)
    axis.set_axisbelow(True)


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a figure in the format that the file's ending names, and return the file.

    Raises:
        CheckpointError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise CheckpointError(f"The plot cannot be written to {file}: {error}.") from error
    return file
