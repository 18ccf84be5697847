"""Write ``docs/paper_arithmetic.md``: the papers' gains, recomputed from the papers' entries.

Run ``python -m docs.generate.paper_arithmetic`` in the repository root.

Printed entries are rounded, so Δm follows from them only up to an interval. Its ends are reached
if every entry is rounded up or down by half a unit, because :func:`taskprism.metrics.gain` is
monotonic in each entry. A printed Δm is *consistent* if it is the rounded value of some number in
that interval.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import groupby
from pathlib import Path

from taskprism.metrics.gain import gain
from taskprism.papers.table import Column, Part, Row, Table, list_tables, load_table
from taskprism.tasks import create_task, list_tasks

PAGE = Path(__file__).parents[1] / "paper_arithmetic.md"
_SLACK = 1e-9  # for floating-point error

_INTRODUCTION = """\
# Arithmetic of the papers

<!-- Written by `python -m docs.generate.paper_arithmetic`: edit the program, not this page. -->

This page compares every printed gain Δm (in ASTMT, the drop -Δm) of the shipped tables with the one
that `taskprism.metrics.gain` computes from the printed entries of the same table. A row's gain is
computed over the tasks that the row prints. Entries are rounded, so Δm follows from them only up to
a range. A printed Δm *deviates* if it is not the rounded value of any number in this range; at
least one printed number then differs from the number that the authors used. The last column gives
what is known about it, which the table files contain under `misprints`.
"""


@dataclass(frozen=True)
class Check:
    """A printed gain and what the printed entries give.

    Attributes:
        table: The table that prints it.
        part: Key of its part.
        row: Key of its row.
        column: Column of the gain.
        baseline: Key of the baseline row.
        printed: Δm or drop as printed.
        recomputed: The same, computed from the printed entries; None if the table prints no
            entries.
        low: Smallest value that the rounded entries allow.
        high: Largest value that the rounded entries allow.
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
        """Whether the printed gain can follow from the entries; None if there are no entries."""
        if self.low is None or self.high is None:
            return None
        half = _half_unit(self.printed, self.column) + _SLACK
        return self.low - half <= self.printed <= self.high + half

    @property
    def misprints(self) -> dict[str, str]:
        """Misprints listed in the table's file: this gain, and the entries it is computed from."""
        part = self.table.parts[self.part]
        used = {self.column.key, *(column.key for column in entries(part).values())}
        listed = part.rows[self.row].misprints
        return {key: reason for key, reason in listed.items() if key in used}


def entries(part: Part) -> dict[str, Column]:
    """Columns that gains are computed from: the first metric printed for each task."""
    found: dict[str, Column] = {}
    for column in part.columns:
        if column.task is not None:
            found.setdefault(column.task, column)
    return found


def checks(table: Table) -> Iterator[Check]:
    """Every printed gain of a table except those of the baselines, which are 0."""
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

    def value(direction: int) -> float:
        """Δm at the upper (1) or lower (-1) end of what the rounded entries allow."""
        ours, theirs = {}, {}
        for task, each in needed.items():
            up = direction if better[task] else -direction
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


_CHANNELS = {"semseg": 2}  # semseg has no default


def page(checks: Sequence[Check]) -> str:
    """The whole page.

    Args:
        checks: Checks in the order of the tables, grouped by table.
    """
    sections = [
        _section(list(group)) for _, group in groupby(checks, key=lambda check: check.table.name)
    ]
    return "\n".join([_INTRODUCTION, _summary(checks), *sections])


def _summary(checks: Sequence[Check]) -> str:
    known = [check for check in checks if check.consistent is not None]
    wrong = [check for check in known if not check.consistent]
    lines = [
        f"Of {len(known)} gains, {len(known) - len(wrong)} agree with the entries of their table "
        f"and {len(wrong)} deviate:",
        "",
    ]
    for name, group in groupby(wrong, key=lambda check: check.table.name):
        rows = [_row_name(check) for check in group]
        lines.append(f"- `{name}`: {'; '.join(rows)}")
    unknown = list(dict.fromkeys(check.table.name for check in checks if check.consistent is None))
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        lines += ["", f"{names} print gains without scores."]
    return "\n".join([*lines, ""])


def _section(checks: Sequence[Check]) -> str:
    table = checks[0].table
    lines = [f"## {table.name}: {table.title}", "", f"{table.source}.", ""]
    known = [check for check in checks if check.consistent is not None]
    if not known:
        return "\n".join([*lines, "The table prints gains without scores.", ""])
    lines += [
        f"| row | printed {known[0].column.quantity} | from the entries | range | remark |",
        "| :--- | ---: | ---: | ---: | :--- |",
    ]
    lines += [f"| {' | '.join(_cells(check))} |" for check in known]
    left_out = [_row_name(check) for check in checks if check.consistent is None]
    if left_out:
        lines += ["", f"Without printed scores: {'; '.join(left_out)}."]
    return "\n".join([*lines, ""])


def _cells(check: Check) -> list[str]:
    values = check.printed, check.recomputed, check.low, check.high
    printed, recomputed, low, high = (
        "" if value is None else f"{value:+.{check.column.digits}f}" for value in values
    )
    remark = "agrees" if check.consistent else "**deviates**"
    remark += "".join(
        f": {why}" if key == check.column.key else f": {_header(check, key)}: {why}"
        for key, why in check.misprints.items()
    )
    numbers = [text.replace("-", "−") for text in (printed, recomputed, f"{low} to {high}")]
    return [text.replace("|", "\\|") for text in (_row_name(check), *numbers, remark)]


def _header(check: Check, key: str) -> str:
    return check.table.parts[check.part].column(key).header


def _row_name(check: Check) -> str:
    """Label of the row, with part and column where the label alone is ambiguous."""
    part = check.table.parts[check.part]
    row = part.rows[check.row].label
    label = f"{part.label}: {row}" if len(check.table.parts) > 1 and part.label not in row else row
    gains = [column for column in part.columns if column.quantity == check.column.quantity]
    return f"{label}, {check.column.header}" if len(gains) > 1 else label


def main() -> None:
    """Write the page to the path on the command line, by default ``docs/paper_arithmetic.md``."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    tables = [load_table(name) for name in list_tables()]
    path.write_text(page([check for table in tables for check in checks(table)]), encoding="utf-8")


if __name__ == "__main__":
    main()
