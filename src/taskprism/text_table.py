"""A table of texts, for the terminal, Markdown and HTML reports.

Example:
    >>> table = TextTable("rooms", ["method", "depth ↓"], [["pad_net", "0.52"], ["ours", "0.41"]],
    ...                   best=frozenset({(1, 1)}))
    >>> print(table.markdown())
    | method | depth ↓ |
    | :--- | ---: |
    | pad_net | 0.52 |
    | ours | **0.41** |
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts.

    Attributes:
        title: Caption, for example the protocol and split.
        headings: One per column; the first column holds the names of the rows.
        rows: Cells, one per heading in each row.
        best: ``(row, column)`` of the cells to print in bold.
        notes: Remarks below the table, one sentence each. Text in backticks is shown as code.
        groups: Sizes of the groups of columns that stay together if the table is too wide for the
            terminal and is split; the first column belongs to none. Without groups, such a table
            is transposed.

    Example:
        >>> TextTable("rooms", ["model", "depth"], [["mti_net", "0.41"]]).transposed().rows
        [['depth', '0.41']]
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    notes: Sequence[str] = ()
    groups: Sequence[int] = ()

    def columns(self, places: Sequence[int]) -> TextTable:
        """The table with only the columns at these places, in this order."""
        index = {place: new for new, place in enumerate(places)}
        return replace(
            self,
            headings=[self.headings[place] for place in places],
            rows=[[row[place] for place in places] for row in self.rows],
            best=frozenset((row, index[place]) for row, place in self.best if place in index),
            groups=(),
        )

    def transposed(self, corner: str | None = None) -> TextTable:
        """The table with one column per row; ``corner`` replaces its first heading."""
        names = [self.headings[0] if corner is None else corner, *self.headings[1:]]
        headings, *rows = [list(each) for each in zip(names, *self.rows, strict=True)]
        best = frozenset((place - 1, row + 1) for row, place in self.best)
        return replace(self, headings=headings, rows=rows, best=best, groups=())

    def markdown(self) -> str:
        """Headings and rows as GitHub-flavored Markdown, without title and notes."""
        rule = [":---"] + ["---:"] * (len(self.headings) - 1)
        lines = [self.headings, rule, *self._marked("**{}**".format)]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )

    def print(self, console: Console) -> None:
        """Print the table and its notes; no cell is cut, even in a narrow terminal."""
        for table in self._fitting(console):
            print_whole(table._rich(), console)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)

    def _fitting(self, console: Console) -> list[TextTable]:
        """The table, or transposed or split if it is too wide for the terminal."""
        if not console.is_terminal or _width(self._rich(), console) <= console.width:
            return [self]
        if not self.groups:
            return [self.transposed()]
        tables: list[TextTable] = []
        shown: list[int] = [0]
        ends = list(itertools.accumulate(self.groups, initial=1))
        for start, end in itertools.pairwise(ends):
            wider = [*shown, *range(start, end)]
            too_wide = _width(self.columns(wider)._rich(), console) > console.width
            if len(shown) > 1 and too_wide:
                tables.append(self.columns(shown))
                wider = [0, *range(start, end)]
            shown = wider
        return [*tables, self.columns(shown)]

    def _rich(self) -> Table:
        table = Table(title=escape(self.title))
        for index, heading in enumerate(self.headings):
            side = "left" if index == 0 else "right"
            table.add_column(escape(heading), justify=side, no_wrap=True)
        escaped = replace(self, rows=[[escape(cell) for cell in row] for row in self.rows])
        for line in escaped._marked("[bold]{}[/bold]".format):
            table.add_row(*line)
        return table

    def _marked(self, mark: Callable[[str], str]) -> list[list[str]]:
        """All rows, with the best cells marked."""
        return [
            [mark(cell) if (index, place) in self.best else cell for place, cell in enumerate(row)]
            for index, row in enumerate(self.rows)
        ]


def print_whole(table: Table, console: Console | None = None) -> None:
    """Print a table at the width it needs, even if the terminal is narrower.

    Example:
        >>> table = Table("task", "metric")
        >>> table.add_row("depth", "rmse")
        >>> print_whole(table, Console(width=10))  # doctest: +SKIP
    """
    console = console or Console()
    width = console.width
    console.width = max(_width(table, console), width)  # otherwise rich cuts the cells
    console.print(table, crop=False)
    console.width = width


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=10_000)).maximum
