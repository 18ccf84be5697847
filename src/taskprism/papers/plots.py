"""Ours beside the paper's as pictures: one line per row of the table."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.papers.results import Cell, PartResult, RowResult
from taskprism.papers.table import Column

_PAPER, _OURS = "#8a929c", "#0072B2"
_WIDTH, _LINE = 2.6, 0.27  # inches of a panel and of a row in it


def plot_columns(part: PartResult, columns: Sequence[Column], shared: bool) -> Figure:
    """Every row's figure in some columns.

    Args:
        part: With its rows from top to bottom.
        columns: Drawn side by side.
        shared: The paper's and our figures mean the same and share a panel; otherwise ours have a
            panel of their own beside the paper's.
    """
    rows = [row for row in part.rows if any(_known(row.cells[c.key]) for c in columns)]
    step = 1 if shared else 2
    labels = max((len(row.label) for row in rows), default=0) * 0.075
    size = (labels + _WIDTH * step * len(columns), 0.9 + _LINE * len(rows))
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "path"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, step * len(columns), squeeze=False, sharey=True)[0]
        for number, column in enumerate(columns):
            paper, ours = axes[number * step], axes[(number + 1) * step - 1]
            title = f"{column.header}{_arrow(part, column)}"
            _paper(paper, rows, column)
            _ours(ours, rows, column)
            ours.set_title(f"{title}, ours", loc="left", fontweight="bold")
            paper.set_title(title if shared else f"{title}, paper", loc="left", fontweight="bold")
            for axis in {paper, ours}:
                _style(axis, column)
        axes[0].set_yticks(range(len(rows)), [row.label for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        if shared:
            handles, names = axes[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _paper(axis: Axes, rows: Sequence[RowResult], column: Column) -> None:
    known = [(row.cells[column.key].paper, y) for y, row in enumerate(rows)]
    points = [(x, y) for x, y in known if x is not None]
    if points:
        xs, ys = zip(*points, strict=True)
        axis.plot(xs, ys, "D", color=_PAPER, mfc="none", ms=5, label="paper")


def _ours(axis: Axes, rows: Sequence[RowResult], column: Column) -> None:
    label = "ours"
    for y, row in enumerate(rows):
        cell = row.cells[column.key]
        if cell.ours is None:
            continue
        if cell.range is not None:
            axis.plot([cell.range.low, cell.range.high], [y, y], color=_OURS, lw=1.6)
        axis.plot([cell.ours.mean], [y], "o", color=_OURS, ms=5, label=label)
        label = "_"  # one entry in the legend


def _known(cell: Cell) -> bool:
    return cell.paper is not None or cell.ours is not None


def _arrow(part: PartResult, column: Column) -> str:
    if column.key not in part.higher_is_better:
        return ""
    return " ↑" if part.higher_is_better[column.key] else " ↓"


def _style(axis: Axes, column: Column) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", color="#e3e6ea", lw=0.7)
    axis.set_axisbelow(True)
    axis.margins(x=0.12)
    axis.locator_params(axis="x", nbins=5)
    if column.relative and column.form != "ratio":
        axis.axvline(0, color="#20242a", lw=0.8)
