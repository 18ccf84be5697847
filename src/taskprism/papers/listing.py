"""Lists of tables and of their rows in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from taskprism.errors import InputError
from taskprism.papers.plan import Request
from taskprism.papers.settings import row_recipe
from taskprism.papers.sizes import Size, size_of
from taskprism.papers.table import Column, Part, Row, Table, list_tables, load_table
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.scoring.tables import NOTHING, billions, millions
from taskprism.text_table import print_whole

_SIZES = ("parameters", "macs")


def print_tables(console: Console) -> None:
    """Print the name, rows and title of every shipped table.

    Example:
        >>> print_tables(Console(quiet=True))
    """
    grid = RichTable()
    for heading, side in (("table", "left"), ("rows", "right"), ("trained", "right")):
        grid.add_column(heading, justify=side, no_wrap=True)  # pyrefly: ignore[bad-argument-type]
    grid.add_column("title")
    for name in list_tables():
        table = load_table(name)
        rows = table.rows.values()
        trained = sum(row.trained for row in rows)
        grid.add_row(name, str(len(rows)), str(trained), escape(table.title))
    print_whole(grid, console)
    console.print("`taskprism reproduce TABLE --list` shows the rows of one.", soft_wrap=True)


def print_rows(table: Table, request: Request, console: Console, reporter: Reporter) -> None:
    """Print every row of a table with the size of its network, without training.

    If the paper prints sizes, they are shown too.

    Example:
        >>> request, reporter = Request("rooms", budget="tiny"), Reporter(quiet=True)
        >>> print_rows(load_table("tpim/3a"), request, Console(quiet=True), reporter)
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
        print_whole(
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
    sizes = [millions(size.parameters), billions(size.macs)]
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
