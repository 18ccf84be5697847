"""A result as text: headings, cells and notes, for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskprism.papers.results import Cell, PartResult, RowResult, TableResult, orderings
from taskprism.papers.table import Column
from taskprism.scoring.tables import NOTHING, Statistic

MISPRINT = "*"


def title(result: TableResult) -> str:
    """Table, protocol and budget; no number is printed without them."""
    return f"{result.plan.table.name}: {result.plan.table.title} ({setting(result)})"


def setting(result: TableResult) -> str:
    """Protocol and budget of our numbers."""
    request = result.plan.request
    names = result.protocols or tuple(
        dict.fromkeys(str(recipes[0].data.protocol) for recipes in result.plan.recipes.values())
    )
    return f"ours: protocol {' and '.join(names)}, budget {request.budget}"


def headings(result: TableResult, part: PartResult) -> list[str]:
    """Headings of the columns: each of the paper's, followed by ours, then sizes and time."""
    names = [part.part.label or "row"]
    for column in part.columns:
        names += [f"{column.header}{arrow(part, column)} paper", "ours"]
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
    """The printed number; a star marks one that contradicts others."""
    if cell.paper is None:
        return NOTHING
    spread = f" ± {cell.paper_std:.{column.digits}f}" if cell.paper_std is not None else ""
    return f"{_number(column, cell.paper)}{spread}{MISPRINT * bool(cell.misprint)}"


def ours_text(column: Column, cell: Cell) -> str:
    """Mean, standard deviation over seeds and confidence interval, if known."""
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
    """Keys of the rows with our best number in a column, compared as printed."""
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
    """A duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _number(column: Column, figure: float) -> str:
    sign = "+" * (column.quantity in {"gain", "drop"} or column.form == "percent")
    return f"{figure:{sign}.{column.digits}f}"


def arrow(part: PartResult, column: Column) -> str:
    """Suffix of a heading: whether higher or lower is better; empty if neither is."""
    if column.key not in part.higher_is_better:
        return ""
    return " ↑" if part.higher_is_better[column.key] else " ↓"


def _shown_sizes(part: PartResult) -> list[tuple[str, str, float]]:
    """Sizes that no column of the paper shows: heading, attribute, divisor."""
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


NO_ORDER = "Fewer than three rows have both numbers, so there is no order to compare."


def setting_notes(result: TableResult) -> list[str]:
    """Sources of the numbers, and whether they can be compared."""
    request, table = result.plan.request, result.plan.table
    lines = [f"Paper: {table.source}."]
    if request.as_published:
        lines.append(
            "Ours: the paper's recipes and data. The difference is ours minus the paper's."
        )
    else:
        lines.append(
            f"Ours: {' and '.join(result.protocols) or request.protocol or 'the same data'}, "
            f"budget {request.budget}. Data or length of training differ from the paper: compare "
            "the order of the rows, not the numbers."
        )
    if result.done < result.total:
        lines.append(f"Not finished: {result.done} of {result.total} runs have scores.")
    if result.failed:
        names = ", ".join(result.failed)
        lines.append(f"{len(result.failed)} of {result.total} runs failed: {names}.")
    return lines


def part_notes(result: TableResult, part: PartResult) -> list[str]:
    """Meaning of a part's columns, and remarks about its rows."""
    lines = [f"Columns: {'; '.join(_meaning(part, column) for column in part.columns)}."]
    if any(len(row.seeds) > 1 for row in part.rows):
        lines.append("Mean ± sample standard deviation over seeds.")
    origins = {
        cell.interval.origin
        for row in part.rows
        for cell in row.cells.values()
        if cell.interval is not None
    }
    lines += [f"In brackets: 95 % interval, {origin}." for origin in sorted(origins)]
    single = one_seed_note(part.rows)
    lines += [single] if single else []
    lines += same_run_notes(part.rows)
    lines += change_notes(result, part)
    for row in part.rows:
        lines += [f"{row.label}: {note}" for note in row.notes]
        lines += [
            f"{MISPRINT} {row.label}, {part.part.column(key).header}: {cell.misprint}"
            for key, cell in row.cells.items()
            if cell.misprint
        ]
    return [*lines, *part.part.notes]


def change_notes(result: TableResult, part: PartResult) -> list[str]:
    """Differences between the rows' recipes and the published ones, each named once."""
    rows: dict[str, list[str]] = {}
    changed = [row for row in part.rows if row.key in result.plan.changes]
    for row in changed:
        for change in result.plan.changes[row.key]:
            rows.setdefault(change, []).append(row.label)
    return [
        change if len(labels) == len(changed) else f"{', '.join(labels)}: {change}"
        for change, labels in rows.items()
    ]


def order_notes(part: PartResult) -> list[str]:
    """Order of the rows, ours and the paper's."""
    lines = [
        sentence
        for column, each in orderings(part)
        for sentence in (each.chains(column.digits), *each.findings())
    ]
    return lines or [NO_ORDER]


def one_seed_note(rows: Sequence[RowResult]) -> str:
    """Remark about rows with a single seed; empty if there are none."""
    single = [row.label for row in rows if len(row.seeds) == 1]
    if not single:
        return ""
    if len(single) == sum(bool(row.seeds) for row in rows):
        return "One seed per row: there is no spread over seeds, and no order is certain."
    return f"One seed only, without spread over seeds: {', '.join(single)}."


def same_run_notes(rows: Sequence[RowResult]) -> list[str]:
    """Rows that share their runs under this request, one sentence per group."""
    labels: Mapping[str, str] = {row.key: row.label for row in rows}
    groups = dict.fromkeys(
        tuple(key for key in labels if key == row.key or key in row.same_as)
        for row in rows
        if row.same_as
    )
    return [
        "Rows with equal recipes under this request share their runs: "
        f"{', '.join(labels[key] for key in group)}."
        for group in groups
        if len(group) > 1
    ]


def _meaning(part: PartResult, column: Column) -> str:
    if column.task is not None:
        unit = "" if column.scale == 1 else f" times {column.scale:g}"
        missing = part.tasks and column.task not in part.tasks
        absent = " (not a task here)" * bool(missing)
        return f"{column.header}: {column.metric} of {column.task}{unit}{absent}"
    meaning = {
        "gain": "mean relative gain over the tasks against the baseline row of the same seed",
        "drop": "mean relative drop over the tasks against the baseline row of the same seed",
        "parameters": "learned values of the network",
        "macs": "multiply-adds for one image",
        "seconds": "seconds of training one run",
    }[str(column.quantity)]
    form = {
        "absolute": "",
        "ratio": ", as a multiple of the baseline row's",
        "percent": ", as change against the baseline row in percent",
    }[column.form]
    return f"{column.header}: {meaning}{form}"
