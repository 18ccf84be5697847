"""The docs page that checks the papers' gains against the papers' own entries.

``python -m taskprism.papers.arithmetic docs/paper_arithmetic.md`` writes it.

Printed entries are rounded, so that Δm follows from them only up to an interval: the one that the
gains of all unrounded entries fill (:func:`taskprism.metrics.gain` rises or falls with each entry,
so its ends lie in corners). A printed Δm is *consistent* if it, too, is the rounding of some number
in that interval.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

from taskprism.analysis.paper_arithmetic_page import page
from taskprism.metrics.gain import gain
from taskprism.papers.library import list_tables, load_table
from taskprism.papers.table import Column, Part, Row, Table
from taskprism.tasks import create_task, list_tasks

_SLACK = 1e-9  # of floating point


@dataclass(frozen=True)
class Check:
    """A printed gain and what follows from the printed entries.

    Attributes:
        table: Where it stands.
        part: Key of its part.
        row: Key of its row.
        column: The column of the gain.
        baseline: Key of the row that it is taken against.
        printed: Δm or drop as printed.
        recomputed: The same from the entries as printed; None if the table prints gains alone.
        low: Least value that the rounded entries allow.
        high: Largest.
    """

    table: Table
    part: str
    row: str
    column: Column
    baseline: str
    printed: float
    recomputed: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def consistent(self) -> bool | None:
        """Whether the printed gain can follow from the entries; None if it cannot be told."""
        if self.low is None or self.high is None:
            return None
        half = _half_unit(self.printed, self.column) + _SLACK
        return self.low - half <= self.printed <= self.high + half

    @property
    def misprints(self) -> dict[str, str]:
        """What the table's file lists as wrong in this row: this gain, and entries behind it."""
        part = self.table.parts[self.part]
        behind = {self.column.key, *(column.key for column in entries(part).values())}
        listed = part.rows[self.row].misprints
        return {key: why for key, why in listed.items() if key in behind}


def entries(part: Part) -> dict[str, Column]:
    """Columns that gains are made of: the first metric that is printed of each task."""
    found: dict[str, Column] = {}
    for column in part.columns:
        if column.task is not None:
            found.setdefault(column.task, column)
    return found


def checks(table: Table) -> Iterator[Check]:
    """Every printed gain of a table but those of the baselines themselves, which are 0."""
    for key, part in table.parts.items():
        for column in part.columns:
            if column.quantity not in _SIGNS:
                continue
            for name, row in part.rows.items():
                baseline = part.baseline_of(name, column)
                if column.key in row.paper and baseline not in (None, name):
                    yield _check(table, key, name, row, column, str(baseline))


_SIGNS = {"gain": 1.0, "drop": -1.0}


def _check(table: Table, part: str, name: str, row: Row, column: Column, baseline: str) -> Check:
    printed = row.paper[column.key]
    columns = entries(table.parts[part])
    reference = table.parts[part].rows[baseline]
    both = row.paper.keys() & reference.paper.keys()  # a row's gain is over its own tasks
    needed = {task: each for task, each in columns.items() if each.key in both}
    place = (table, part, name, column, baseline, printed)
    if not needed:
        return Check(*place)
    better = {task: directions()[task, str(each.metric)] for task, each in needed.items()}
    sign = _SIGNS[str(column.quantity)]

    def value(towards: int) -> float:
        """Δm if every entry was rounded away from what makes it large (1) or small (-1)."""
        ours, theirs = {}, {}
        for task, each in needed.items():
            up = towards if better[task] else -towards
            mine, other = row.paper[each.key], reference.paper[each.key]
            ours[task] = mine + up * _half_unit(mine, each)
            theirs[task] = other - up * _half_unit(other, each)
        return sign * gain(ours, theirs, better)

    low, high = sorted((value(-1), value(1)))
    return Check(*place, value(0), low, high)


def _half_unit(printed: float, column: Column) -> float:
    """Half a unit in the last printed digit."""
    exponent = Decimal(repr(printed)).as_tuple().exponent
    digits = max(column.digits, -exponent if isinstance(exponent, int) else 0)
    return 0.5 * 10.0**-digits


@cache
def directions() -> Mapping[tuple[str, str], bool]:
    """(Task, metric) -> whether higher is better, for every kind of task under its own name."""
    tasks = [create_task(kind, _CHANNELS.get(kind)) for kind in list_tasks()]
    tasks.append(create_task("edge", odsf=True))
    return {
        (task.name, metric): better
        for task in tasks
        for metric, better in task.higher_is_better.items()
    }


_CHANNELS = {"semseg": 2}  # it has no default


def main() -> None:
    """Write the page to the file named on the command line."""
    tables = [load_table(name) for name in list_tables()]
    text = page([check for table in tables for check in checks(table)])
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
