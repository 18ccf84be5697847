"""A result as text: its tables and notes, in the terminal, as Markdown and as JSON.

Example:
    >>> from pathlib import Path
    >>> from taskprism.papers import Place, Request, collect, load_table, make_plan
    >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
    >>> result = collect(make_plan(load_table("mti_net/2a"), request), Place(Path("reproduced")))
    >>> print(title(result))
    mti_net/2a: Components of MTI-Net on NYUD-v2, HRNet-18 (ours: protocol rooms, budget tiny)
    >>> text_table(result, result.parts[0]).rows[1][:5]
    ['MTL', '32.09', '–', '0.668', '–']
    >>> commands(result)[0]
    '# the whole table; finished runs are kept'
    >>> print_result(result, Console(quiet=True))
    >>> json.loads(to_json(result))["done"]
    0
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from taskprism.papers.results import Cell, PartResult, RowResult, TableResult, orderings
from taskprism.papers.table import Column
from taskprism.scoring.tables import (
    NOTHING,
    Statistic,
    arrow,
    best_keys,
    billions,
    format_statistic,
    millions,
)
from taskprism.text_table import TextTable
from taskprism.training.run_directory import without_nan

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


def text_table(result: TableResult, part: PartResult) -> TextTable:
    """One part as text: each number of the paper next to ours, then sizes and time.

    Our best number of each column is marked.
    """
    compared = result.plan.request.as_published
    step = 3 if compared else 2  # columns of text per column of the table
    sizes = _shown_sizes(part)
    headings = [part.part.label or "row"]
    for column in part.columns:
        headings += [f"{arrow_title(part, column)} paper", "ours", *["difference"] * compared]
    headings += ["seeds", *(heading for heading, _ in sizes), "time"]
    rows = []
    for row in part.rows:
        texts = [row.label]
        for column in part.columns:
            cell = row.cells[column.key]
            texts += [_paper(column, cell), _ours(column, cell)]
            texts += [_difference(column, cell)] * compared
        texts += [_seeds(result, row), *(size(row) for _, size in sizes), _time(row.seconds)]
        rows.append(texts)
    best = {
        (index, 2 + place * step)
        for place, column in enumerate(part.columns)
        for index in _best_rows(part, column)
    }
    return TextTable(
        title=title(result),
        headings=headings,
        rows=rows,
        best=frozenset(best),
        notes=part_notes(result, part),
        groups=[step] * len(part.columns) + [2 + len(sizes)],
    )


def print_result(result: TableResult, console: Console) -> None:
    """Print all parts and notes; a table too wide for the terminal is split by columns."""
    for part in result.parts:
        text_table(result, part).print(console)
        _print_lines(order_notes(part), console)
    _print_lines([*setting_notes(result), *result.notes], console)


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def markdown(result: TableResult) -> str:
    """GitHub-flavored Markdown: parts, notes, orders, and the commands."""
    text = [f"# {title(result)}", "", *(f"- {line}" for line in setting_notes(result)), ""]
    for part in result.parts:
        table = text_table(result, part)
        text += [table.markdown(), "", *(f"- {note}" for note in table.notes), ""]
        text += ["**Order.** " + " ".join(order_notes(part)), ""]
    text += [f"- {line}" for line in result.notes]
    return "\n".join([*text, "", "```sh", *commands(result), "```", ""])


def to_json(result: TableResult) -> str:
    """The whole result at full precision."""
    request = asdict(result.plan.request)
    request.pop("imports")  # of the command line; the commands below repeat them
    content = {
        "table": result.plan.table.name,
        "title": result.plan.table.title,
        "source": result.plan.table.source,
        "request": {**request, "data": None if request["data"] is None else str(request["data"])},
        "protocols": list(result.protocols),
        "runs": result.total,
        "done": result.done,
        "failed": dict(result.failed),
        "parts": {part.name: _part(part) for part in result.parts},
        "notes": [*setting_notes(result), *result.notes],
        "commands": commands(result),
    }
    return json.dumps(without_nan(content), indent=2, ensure_ascii=False) + "\n"


def commands(result: TableResult) -> list[str]:
    """Command lines that reproduce this table, and each of its rows."""
    plan, out = result.plan, result.folder
    text = ["# the whole table; finished runs are kept", plan.command(out)]
    text += ["", "# one row"]
    for row in plan.recipes:
        run = plan.runs_of(row)[0]
        recipe = out / "runs" / run.name
        if plan.request.as_published:
            root = f" --data.root {plan.request.data}" if plan.request.data is not None else ""
            text.append(f"taskprism train {plan.table.name}/{row}{root} --out {row}")
        elif (recipe / "recipe.yaml").is_file():
            text.append(f"taskprism train {recipe} --out {row}  # {row}, seed {run.seed}")
    return text


def _part(part: PartResult) -> dict[str, Any]:
    return {
        "label": part.part.label,
        "baseline": part.part.baseline,
        "columns": [column.model_dump(by_alias=True) for column in part.columns],
        "higher_is_better": dict(part.higher_is_better),
        "rows": {row.key: _row(row) for row in part.rows},
        "orders": {column.key: asdict(each) for column, each in orderings(part)},
        "order": order_notes(part),
    }


def _row(row: RowResult) -> dict[str, Any]:
    content: dict[str, Any] = asdict(row)
    content.pop("key")
    content["runs"] = {str(seed): str(folder) for seed, folder in row.runs.items()}
    for key, cell in row.cells.items():
        content["cells"][key]["difference"] = cell.difference
    return content


def _paper(column: Column, cell: Cell) -> str:
    """The printed number; a star marks one that contradicts others."""
    if cell.paper is None:
        return NOTHING
    spread = f" ± {cell.paper_std:.{column.digits}f}" if cell.paper_std is not None else ""
    return f"{_number(column, cell.paper)}{spread}{MISPRINT * bool(cell.misprint)}"


def _ours(column: Column, cell: Cell) -> str:
    """Mean, standard deviation over seeds and confidence interval, if known."""
    if cell.reference and cell.ours is not None and column.quantity in {"gain", "drop"}:
        return "0 (reference)"
    text = format_statistic(cell.ours, lambda value: _number(column, value))
    if cell.interval is not None:
        low, high = (_number(column, end) for end in (cell.interval.low, cell.interval.high))
        text += f" [{low}, {high}]"
    return text


def _difference(column: Column, cell: Cell) -> str:
    """Ours minus the paper's."""
    difference = cell.difference
    return NOTHING if difference is None else f"{difference:+.{column.digits}f}"


def _number(column: Column, value: float) -> str:
    sign = "+" * (column.quantity in {"gain", "drop"} or column.form == "percent")
    return f"{value:{sign}.{column.digits}f}"


def _best_rows(part: PartResult, column: Column) -> set[int]:
    """Indices of the rows with our best number in a column."""
    if column.key not in part.higher_is_better:
        return set()
    ours = {index: row.cells[column.key].ours for index, row in enumerate(part.rows)}
    means = {index: statistic.mean for index, statistic in ours.items() if statistic is not None}
    higher_is_better = part.higher_is_better[column.key]
    return best_keys(means, higher_is_better, lambda mean: round(mean, column.digits))


def arrow_title(part: PartResult, column: Column) -> str:
    """Heading of a column, with an arrow if higher or lower is better."""
    if column.key not in part.higher_is_better:
        return column.header
    return f"{column.header} {arrow(part.higher_is_better[column.key])}"


def _shown_sizes(part: PartResult) -> list[tuple[str, Callable[[RowResult], str]]]:
    """Heading and text of the sizes that no column of the paper shows."""
    printed = {column.quantity for column in part.columns if column.form == "absolute"}
    sizes: list[tuple[str, Callable[[RowResult], str]]] = []
    if "parameters" not in printed:
        sizes.append(("params (M)", lambda row: millions(row.parameters)))
    if "macs" not in printed:
        sizes.append(("MACs (G)", lambda row: billions(row.macs)))
    return sizes


def _seeds(result: TableResult, row: RowResult) -> str:
    if row.kind in {"quoted", "impossible"}:
        return NOTHING
    wanted = result.plan.request.seeds
    return str(wanted) if len(row.seeds) == wanted else f"{len(row.seeds)} of {wanted}"


def _time(seconds: Statistic | None) -> str:
    """Mean duration in seconds, minutes or hours."""
    if seconds is None:
        return NOTHING
    mean = seconds.mean
    if mean < 120:
        return f"{mean:.0f} s"
    return f"{mean / 60:.1f} min" if mean < 7200 else f"{mean / 3600:.1f} h"


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
    single = _one_seed_note(part.rows)
    lines += [single] if single else []
    lines += _same_run_notes(part.rows)
    lines += _change_notes(result, part)
    for row in part.rows:
        lines += [f"{row.label}: {note}" for note in row.notes]
        lines += [
            f"{MISPRINT} {row.label}, {part.part.column(key).header}: {cell.misprint}"
            for key, cell in row.cells.items()
            if cell.misprint
        ]
    return [*lines, *part.part.notes]


def _change_notes(result: TableResult, part: PartResult) -> list[str]:
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


def _one_seed_note(rows: Sequence[RowResult]) -> str:
    """Remark about rows with a single seed; empty if there are none."""
    single = [row.label for row in rows if len(row.seeds) == 1]
    if not single:
        return ""
    if len(single) == sum(bool(row.seeds) for row in rows):
        return "One seed per row: there is no spread over seeds, and no order is certain."
    return f"One seed only, without spread over seeds: {', '.join(single)}."


def _same_run_notes(rows: Sequence[RowResult]) -> list[str]:
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
