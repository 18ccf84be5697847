"""Style of all plots, and saving of plots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.errors import CheckpointError

# Colors by Okabe and Ito, which color-blind readers can distinguish.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STROKES = ("-", "--", ":", "-.")
INK, GRID = "#20242a", "#e3e6ea"  # text and axes, and lines behind the data
DOTS_PER_INCH = 110


@contextmanager
def plot_style() -> Iterator[None]:
    """Use small fonts, and text as shapes in SVG files, while a figure is created.

    Example:
        >>> with plot_style():
        ...     matplotlib.rcParams["font.size"]
        9.0
    """
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = {"font.size": 9, "svg.fonttype": "path", **dict.fromkeys(inked, INK)}
    with matplotlib.rc_context(style):
        yield


def tidy(axis: Axes) -> None:
    """Add light horizontal grid lines and remove the box.

    Example:
        >>> axis = Figure().subplots()
        >>> tidy(axis)
        >>> axis.spines["top"].get_visible()
        False
    """
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color=GRID, lw=0.7)
    axis.set_axisbelow(True)


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a figure in the format of the file ending, and return the file.

    Raises:
        CheckpointError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_figure(Figure(), Path(folder, "plot.png")).name
        'plot.png'
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise CheckpointError(f"Cannot write the plot to {file}: {error}.") from error
    return file
