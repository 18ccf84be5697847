"""A comparison as a table: in the terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from taskprism.analysis.comparison import Column, Comparison, Row, Statistic
from taskprism.errors import CheckpointError, InputError

NOTHING = "–"


def headings(comparison: Comparison, all_metrics: bool = False) -> list[str]:
    """Titles of the columns; an arrow shows which way a metric is better."""
    shown = shown_columns(comparison, all_metrics)
    return ["method", "seeds", "params (M)", "MACs (G)", *map(_title, shown), "Δm (%) ↑"]


def shown_columns(comparison: Comparison, all_metrics: bool = False) -> list[Column]:
    """Columns in the table: the primary metric of each task, or every metric."""
    return [column for column in comparison.columns if all_metrics or column.primary]


def cells(comparison: Comparison, row: Row, all_metrics: bool = False) -> list[str]:
    """One row as text, in the order of :func:`headings`."""
    values = [
        format_statistic(row.values.get((column.task, column.metric)), number)
        for column in shown_columns(comparison, all_metrics)
    ]
    millions = NOTHING if row.parameters is None else f"{row.parameters / 1e6:.2f}"
    billions = NOTHING if row.macs is None else f"{row.macs / 1e9:.2f}"
    change = "0 (reference)" if row.is_baseline else format_statistic(row.gain, "{:+.2f}".format)
    return [row.name, str(len(row.seeds)), millions, billions, *values, change]


def best_rows(comparison: Comparison, column: Column) -> set[int]:
    """Indices of the rows with the best mean in a column, as it would be printed."""
    means = {
        index: row.values[column.task, column.metric].mean
        for index, row in enumerate(comparison.rows)
        if (column.task, column.metric) in row.values
    }
    if len(means) < 2:
        return set()
    best = max(means.values()) if column.higher_is_better else min(means.values())
    return {index for index, mean in means.items() if number(mean) == number(best)}


def caption(comparison: Comparison) -> list[str]:
    """What a reader must know, one sentence each."""
    lines = [
        "Mean ± sample standard deviation over seeds; ↑ higher is better, ↓ lower is better; "
        "best mean in bold."
    ]
    if any(row.gain is not None for row in comparison.rows):
        lines.append(
            "Δm: mean over tasks of the signed relative change of the primary metric against the "
            "single-task networks; positive is better."
        )
    if any(row.is_baseline for row in comparison.rows):
        lines.append("Parameters and operations of single-task rows are sums over their networks.")
    return [*lines, *comparison.notes]


def title(comparison: Comparison) -> str:
    """Protocol and split: a score is never printed without them."""
    return f"protocol {comparison.protocol}, split {comparison.split}"


def rich_table(comparison: Comparison, all_metrics: bool = False) -> Table:
    """Table for the terminal."""
    table = Table(
        title=title(comparison), caption="\n".join(caption(comparison)), caption_justify="left"
    )
    for index, heading in enumerate(headings(comparison, all_metrics)):
        table.add_column(heading, justify="left" if index == 0 else "right")
    for line in _marked(comparison, all_metrics, "[bold]{}[/bold]".format):
        table.add_row(escape(line[0]), *line[1:])
    return table


def markdown(comparison: Comparison, all_metrics: bool = False) -> str:
    """GitHub-flavoured Markdown."""
    names = headings(comparison, all_metrics)
    rule = [":---"] + ["---:"] * (len(names) - 1)
    body = _marked(comparison, all_metrics, "**{}**".format)
    lines = ["| " + " | ".join(line) + " |" for line in [names, rule, *body]]
    notes = [f"- {line}" for line in caption(comparison)]
    return "\n".join([f"**{title(comparison)}**", "", *lines, "", *notes, ""])


def to_csv(comparison: Comparison, all_metrics: bool = False) -> str:
    """One line per method; full precision, spread in columns of its own (empty for one seed)."""
    shown = shown_columns(comparison, all_metrics)
    names = [f"{column.task} {column.metric}" for column in shown]
    pairs = [part for name in [*names, "gain_percent"] for part in (name, f"{name} std")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["protocol", "split", "method", "model", "backbone", "seeds", "parameters", "macs", *pairs]
    )
    for row in comparison.rows:
        statistics = [row.values.get((column.task, column.metric)) for column in shown]
        numbers = [
            value
            for one in [*statistics, row.gain]
            for value in (("", "") if one is None else (one.mean, one.std))
        ]
        head = [comparison.protocol, comparison.split, row.name, row.model, row.backbone]
        seeds = " ".join(map(str, row.seeds))
        writer.writerow([*head, seeds, row.parameters, row.macs, *numbers])
    return text.getvalue()


def to_json(comparison: Comparison, all_metrics: bool = False) -> str:
    """Everything, nested by task and metric."""
    shown = shown_columns(comparison, all_metrics)
    rows = []
    for row in comparison.rows:
        metrics: dict[str, dict[str, object]] = {}
        for column in shown:
            statistic = row.values.get((column.task, column.metric))
            if statistic is not None:
                metrics.setdefault(column.task, {})[column.metric] = asdict(statistic)
        rows.append(
            {
                "method": row.name,
                "model": row.model,
                "backbone": row.backbone,
                "seeds": list(row.seeds),
                "parameters": row.parameters,
                "macs": row.macs,
                "metrics": metrics,
                "gain_percent": None if row.gain is None else asdict(row.gain),
                "task_gains_percent": {task: asdict(g) for task, g in row.task_gains.items()},
            }
        )
    content = {
        "protocol": comparison.protocol,
        "split": comparison.split,
        "columns": [asdict(column) for column in shown],
        "rows": rows,
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Comparison, bool], str]] = {
    ".md": markdown,
    ".csv": to_csv,
    ".json": to_json,
}


def check_format(path: Path) -> None:
    """Raise :class:`InputError` if no table can be written to a file of that ending."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"{path}: unknown kind of table {path.suffix!r}; end the name in {', '.join(FORMATS)}."
        )


def write(comparison: Comparison, path: Path, all_metrics: bool = False) -> None:
    """Write the table in the format that the file's ending names."""
    check_format(path)
    text = FORMATS[path.suffix.lower()](comparison, all_metrics)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"The table cannot be written to {path}: {error}.") from error


def number(value: float) -> str:
    """Number for a table: four decimals below 10, two from there on."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_statistic(statistic: Statistic | None, form: Callable[[float], str]) -> str:
    """``mean ± spread``; the mean alone for one seed."""
    if statistic is None:
        return NOTHING
    if statistic.std is None:
        return form(statistic.mean)
    return f"{form(statistic.mean)} ± {form(statistic.std).lstrip('+')}"


def _title(column: Column) -> str:
    return f"{column.task} {column.metric} {'↑' if column.higher_is_better else '↓'}"


def _marked(
    comparison: Comparison, all_metrics: bool, mark: Callable[[str], str]
) -> Sequence[list[str]]:
    """All rows as text, the best of each metric marked."""
    lines = [cells(comparison, row, all_metrics) for row in comparison.rows]
    for index, column in enumerate(shown_columns(comparison, all_metrics), start=4):
        for best in best_rows(comparison, column):
            lines[best][index] = mark(lines[best][index])
    return lines
