"""A result as text: headings, cells and notes, for the terminal, Markdown and HTML alike."""

from __future__ import annotations

from taskprism.papers.results import Cell, PartResult, RowResult, TableResult
from taskprism.papers.table import Column
from taskprism.scoring.comparison import Statistic
from taskprism.scoring.tables import NOTHING

MISPRINT = "*"


def title(result: TableResult) -> str:
    """Which table, and what ours were trained on: no figure is printed without it."""
    return f"{result.plan.table.name}: {result.plan.table.title} ({setting(result)})"


def setting(result: TableResult) -> str:
    """Data and budget of ours in a few words."""
    request = result.plan.request
    names = result.protocols or tuple(
        dict.fromkeys(str(recipes[0].data.protocol) for recipes in result.plan.recipes.values())
    )
    return f"ours: protocol {' and '.join(names)}, budget {request.budget}"


def headings(result: TableResult, part: PartResult) -> list[str]:
    """Titles of the columns: the paper's, each with ours beside it, then what runs cost."""
    names = [part.part.label or "row"]
    for column in part.columns:
        arrow = _arrow(part, column)
        names += [f"{column.header}{arrow} paper", "ours"]
        names += ["difference"] * result.plan.request.as_published
    return [*names, "seeds", *_size_headings(part), "time"]


def cells(result: TableResult, part: PartResult, row: RowResult) -> list[str]:
    """One row, in the order of :func:`headings`."""
    words = [row.label]
    for column in part.columns:
        cell = row.cells[column.key]
        words += [paper_text(column, cell), ours_text(column, cell)]
        if result.plan.request.as_published:
            words.append(difference_text(column, cell))
    return [*words, _seeds(result, row), *_sizes(part, row), _time(row.seconds)]


def paper_text(column: Column, cell: Cell) -> str:
    """The printed figure; a star marks one that contradicts the others."""
    if cell.paper is None:
        return NOTHING
    spread = f" ± {cell.paper_std:.{column.digits}f}" if cell.paper_std is not None else ""
    return f"{_number(column, cell.paper)}{spread}{MISPRINT * bool(cell.misprint)}"


def ours_text(column: Column, cell: Cell) -> str:
    """Mean, spread over seeds and confidence interval, as far as there are any."""
    if cell.ours is None:
        return NOTHING
    if cell.reference and column.quantity in {"gain", "drop"}:
        return "0 (reference)"
    text = _number(column, cell.ours.mean)
    if cell.ours.std is not None and column.quantity not in {"parameters", "macs"}:
        text += f" ± {cell.ours.std:.{column.digits}f}"
    if cell.interval is not None:
        low, high = (_number(column, end) for end in (cell.interval.low, cell.interval.high))
        text += f" [{low}, {high}]"
    return text


def difference_text(column: Column, cell: Cell) -> str:
    """Ours minus the paper's."""
    difference = cell.difference
    return NOTHING if difference is None else f"{difference:+.{column.digits}f}"


def best(part: PartResult, column: Column) -> set[str]:
    """Keys of the rows with our best figure in a column, as it would be printed."""
    if column.key not in part.higher_is_better:
        return set()
    values = {
        row.key: round(row.cells[column.key].ours.mean, column.digits)  # type: ignore[union-attr]
        for row in part.rows
        if row.cells[column.key].ours is not None
    }
    if len(values) < 2:
        return set()
    top = (max if part.higher_is_better[column.key] else min)(values.values())
    return {key for key, each in values.items() if each == top}


def seconds_text(seconds: float) -> str:
    """A length of time in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _number(column: Column, figure: float) -> str:
    sign = "+" * (column.quantity in {"gain", "drop"} or column.form == "percent")
    return f"{figure:{sign}.{column.digits}f}"


def _arrow(part: PartResult, column: Column) -> str:
    if column.key not in part.higher_is_better:
        return ""
    return " ↑" if part.higher_is_better[column.key] else " ↓"


def _shown_sizes(part: PartResult) -> list[tuple[str, str, float]]:
    """Sizes that the paper's own columns do not show in full: heading, attribute, divisor."""
    printed = {column.quantity for column in part.columns if column.form == "absolute"}
    sizes = [("params (M)", "parameters", 1e6), ("MACs (G)", "macs", 1e9)]
    return [each for each in sizes if each[1] not in printed]


def _size_headings(part: PartResult) -> list[str]:
    return [heading for heading, _, _ in _shown_sizes(part)]


def _sizes(part: PartResult, row: RowResult) -> list[str]:
    values = [(getattr(row, name), divisor) for _, name, divisor in _shown_sizes(part)]
    return [NOTHING if size is None else f"{size / divisor:.2f}" for size, divisor in values]


def _seeds(result: TableResult, row: RowResult) -> str:
    if row.kind in {"quoted", "impossible"}:
        return NOTHING
    wanted = result.plan.request.seeds
    return str(wanted) if len(row.seeds) == wanted else f"{len(row.seeds)} of {wanted}"


def _time(seconds: Statistic | None) -> str:
    return NOTHING if seconds is None else seconds_text(seconds.mean)
