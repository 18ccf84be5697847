"""Results and lists of tables in the terminal; results as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from taskprism.errors import InputError
from taskprism.papers.plan import Request
from taskprism.papers.results import PartResult, RowResult, TableResult, orderings
from taskprism.papers.settings import row_recipe
from taskprism.papers.sizes import Size, size_of
from taskprism.papers.table import Column, Part, Row, Table, list_tables, load_table
from taskprism.papers.text import (
    best,
    cells,
    headings,
    order_notes,
    part_notes,
    setting_notes,
    title,
)
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.scoring.tables import NOTHING
from taskprism.training.run_directory import without_nan


def lines(result: TableResult, part: PartResult) -> tuple[list[list[str]], set[tuple[int, int]]]:
    """Cells of all rows, and the ``(row, column)`` of our best numbers."""
    step = _step(result)
    marks = {
        (index, 2 + number * step)
        for number, column in enumerate(part.columns)
        for index, row in enumerate(part.rows)
        if row.key in best(part, column)
    }
    return [cells(result, part, row) for row in part.rows], marks


def print_result(result: TableResult, console: Console) -> None:
    """Print all parts and notes; a table too wide for the terminal is split by columns."""
    for part in result.parts:
        for table in _fitting(result, part, console):
            _print_whole(table, console)
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
    """The whole result at full precision."""
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


def _fitting(result: TableResult, part: PartResult, console: Console) -> list[RichTable]:
    """Tables that together show all columns, each as wide as fits the terminal."""
    step, columns = _step(result), len(part.columns)
    places = [range(1 + n * step, 1 + (n + 1) * step) for n in range(columns)]
    places.append(range(1 + columns * step, len(headings(result, part))))
    tables: list[RichTable] = []
    shown: list[int] = []
    for group in places:
        wider = _rich(result, part, [*shown, *group])
        if shown and console.is_terminal and _width(wider, console) > console.width:
            tables.append(_rich(result, part, shown))
            shown = []
        shown += group
    return [*tables, _rich(result, part, shown)]


def _rich(result: TableResult, part: PartResult, places: Sequence[int]) -> RichTable:
    """Table of the row labels and some columns."""
    names = headings(result, part)
    rows, marks = lines(result, part)
    table = RichTable(title=escape(title(result)))
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
    """Number of text columns per column of the table."""
    return 3 if result.plan.request.as_published else 2


def _width(table: RichTable, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=10_000)).maximum


def _plain(cell: str) -> str:
    return cell.replace("|", "\\|")


_SIZES = ("parameters", "macs")


def print_tables(console: Console) -> None:
    """Print the name, rows and title of every shipped table."""
    grid = RichTable()
    for heading, side in (("table", "left"), ("rows", "right"), ("trained", "right")):
        grid.add_column(heading, justify=side, no_wrap=True)  # pyrefly: ignore[bad-argument-type]
    grid.add_column("title")
    for name in list_tables():
        table = load_table(name)
        rows = table.rows.values()
        trained = sum(row.trained for row in rows)
        grid.add_row(name, str(len(rows)), str(trained), escape(table.title))
    _print_whole(grid, console)
    console.print("`taskprism reproduce TABLE --list` shows the rows of one.", soft_wrap=True)


def print_rows(table: Table, request: Request, console: Console, reporter: Reporter) -> None:
    """Print every row of a table with the size of its network, without training.

    If the paper prints sizes, they are shown too.
    """
    for part in table.parts.values():
        recipes: dict[str, Recipe] = {}
        reasons: dict[str, str] = {}
        for key in reporter.track(list(part.rows), f"resolving {table.name}"):
            try:
                recipe = row_recipe(
                    table,
                    key,
                    protocol=request.protocol,
                    data=request.data,
                    budget=request.budget,
                )
            except InputError as error:
                reasons[key] = str(error)
                continue
            if recipe is not None:
                recipes[key] = recipe
        tracked = reporter.track(recipes.items(), f"building {table.name}", len(recipes))
        sizes = {key: size_of(recipe) for key, recipe in tracked}
        _print_whole(
            _grid(f"{table.name}: {part.label or table.title}", part, recipes, sizes), console
        )
        for key, reason in reasons.items():
            console.print(f"{key}: {reason}", markup=False, soft_wrap=True)
    console.print(f"`taskprism train {table.name}/ROW --out DIR` trains one row.", soft_wrap=True)


def _grid(
    title: str, part: Part, recipes: Mapping[str, Recipe], sizes: Mapping[str, Size]
) -> RichTable:
    grid = RichTable(title=escape(title))
    for heading in ("row", "label", "model", "backbone"):
        grid.add_column(heading, no_wrap=True)
    columns = [column for column in part.columns if column.quantity in _SIZES]
    figures = [f"{column.header} {whose}" for column in columns for whose in ("paper", "ours")]
    for heading in ("params (M)", "MACs (G)", *figures):
        grid.add_column(escape(heading), justify="right", no_wrap=True)
    for key, row in part.rows.items():
        words = _network(row, recipes.get(key), sizes.get(key))
        for column in columns:
            words.append(_figure(column, row.paper.get(column.key)))
            words.append(_ours(part, key, column, sizes))
        grid.add_row(key, escape(row.label), *words)
    return grid


def _network(row: Row, recipe: Recipe | None, size: Size | None) -> list[str]:
    if recipe is None or size is None:
        how = "quoted" if row.quoted is not None else NOTHING
        how = f"from the run of {row.readout.of}" if row.readout is not None else how
        return [how, NOTHING, NOTHING, NOTHING]
    sizes = (f"{size.parameters / 1e6:.2f}", f"{size.macs / 1e9:.2f}")
    return [recipe.model.name, recipe.model.backbone, *sizes]


def _figure(column: Column, figure: float | None) -> str:
    return NOTHING if figure is None else f"{figure:.{column.digits}f}"


def _ours(part: Part, key: str, column: Column, sizes: Mapping[str, Size]) -> str:
    if key not in sizes:
        return NOTHING
    value = float(getattr(sizes[key], str(column.quantity)))
    if column.form != "absolute":
        reference = sizes.get(part.baseline_of(key, column) or "")
        if reference is None:
            return NOTHING
        value /= getattr(reference, str(column.quantity))
        value = 100 * (value - 1) if column.form == "percent" else value
    return _figure(column, value * column.scale)


def _print_whole(table: RichTable, console: Console) -> None:
    """Print a table uncut, even if the terminal is too narrow for it."""
    width = console.width
    console.width = max(_width(table, console), width)  # otherwise rich cuts the cells
    console.print(table, crop=False)
    console.width = width
