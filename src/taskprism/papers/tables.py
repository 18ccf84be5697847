"""A result in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taskprism.papers.notes import order_notes, part_notes, setting_notes
from taskprism.papers.ordering import orderings
from taskprism.papers.results import PartResult, RowResult, TableResult
from taskprism.papers.text import best, cells, headings, title
from taskprism.training.log import without_nan


def lines(result: TableResult, part: PartResult) -> tuple[list[list[str]], set[tuple[int, int]]]:
    """Cells of all rows, and the places of our best figures."""
    step = _step(result)
    marks = {
        (index, 2 + number * step)
        for number, column in enumerate(part.columns)
        for index, row in enumerate(part.rows)
        if row.key in best(part, column)
    }
    return [cells(result, part, row) for row in part.rows], marks


def print_result(result: TableResult, console: Console) -> None:
    """Print all parts, in several tables where one is too wide for the terminal, and all notes."""
    for part in result.parts:
        for table in _fitting(result, part, console):
            width = console.width
            console.width = max(_width(table, console), width)  # or rich would cut the cells
            console.print(table, crop=False)
            console.width = width
        for line in [*part_notes(result, part), *order_notes(part)]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in [*setting_notes(result), *result.notes]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def markdown(result: TableResult) -> str:
    """GitHub-flavored Markdown: parts, notes, orders, and the commands."""
    text = [f"# {title(result)}", "", *(f"- {line}" for line in setting_notes(result)), ""]
    for part in result.parts:
        names = headings(result, part)
        rows, marks = lines(result, part)
        for index, place in marks:
            rows[index][place] = f"**{rows[index][place]}**"
        rule = [":---"] + ["---:"] * (len(names) - 1)
        text += ["| " + " | ".join(map(_plain, line)) + " |" for line in [names, rule, *rows]]
        text += ["", *(f"- {line}" for line in part_notes(result, part)), ""]
        text += ["**Order.** " + " ".join(order_notes(part)), ""]
    text += [f"- {line}" for line in result.notes]
    return "\n".join([*text, "", "```sh", *commands(result), "```", ""])


def to_json(result: TableResult) -> str:
    """Everything at full precision."""
    request = asdict(result.plan.request)
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
    """Command lines that make this table, and each of its rows alone."""
    plan, out = result.plan, result.folder
    text = ["# the whole table; what is done is not done again", plan.command(out)]
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


def _fitting(result: TableResult, part: PartResult, console: Console) -> list[Table]:
    """Tables with all columns, each with as many as the terminal is wide for, but at least one."""
    step, columns = _step(result), len(part.columns)
    places = [range(1 + n * step, 1 + (n + 1) * step) for n in range(columns)]
    places.append(range(1 + columns * step, len(headings(result, part))))
    tables: list[Table] = []
    shown: list[int] = []
    for group in places:
        wider = _rich(result, part, [*shown, *group])
        if shown and console.is_terminal and _width(wider, console) > console.width:
            tables.append(_rich(result, part, shown))
            shown = []
        shown += group
    return [*tables, _rich(result, part, shown)]


def _rich(result: TableResult, part: PartResult, places: Sequence[int]) -> Table:
    """Table of the rows' names and some columns."""
    names = headings(result, part)
    rows, marks = lines(result, part)
    table = Table(title=escape(title(result)))
    table.add_column(escape(names[0]), no_wrap=True)
    for place in places:
        table.add_column(escape(names[place]), justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        texts = [escape(row[place]) for place in places]
        bold = [(index, place) in marks for place in places]
        pairs = zip(texts, bold, strict=True)
        table.add_row(escape(row[0]), *(f"[bold]{t}[/bold]" if b else t for t, b in pairs))
    return table


def _step(result: TableResult) -> int:
    """Columns of text for each column of the table."""
    return 3 if result.plan.request.as_published else 2


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _plain(cell: str) -> str:
    return cell.replace("|", "\\|")
