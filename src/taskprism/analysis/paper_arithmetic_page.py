"""The text of the page on the papers' arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskprism.papers.arithmetic import Check

_INTRODUCTION = """\
# Arithmetic of the papers

<!-- Written by `python -m taskprism.papers.arithmetic docs/paper_arithmetic.md`. -->

Every gain Δm (in ASTMT, the drop -Δm) that the shipped tables print, beside the one that
`taskprism.metrics.gain` computes from the same table's printed entries, over the tasks that the row
prints. Entries are rounded, so Δm follows from them only up to a range: that of all numbers that
round to the printed entries. A printed Δm that is no rounding of any number in this range
*deviates*: some printed number is not what was computed with. What is known about it stands in the
last column, and in the tables' files under `misprints`.
"""


def page(checks: Sequence[Check]) -> str:
    """The whole page.

    Args:
        checks: In the order of the tables; those of one table together.
    """
    sections = [
        _section(list(group)) for _, group in groupby(checks, key=lambda check: check.table.name)
    ]
    return "\n".join([_INTRODUCTION, _summary(checks), *sections])


def _summary(checks: Sequence[Check]) -> str:
    known = [check for check in checks if check.consistent is not None]
    wrong = [check for check in known if not check.consistent]
    lines = [
        f"Of {len(known)} gains, {len(known) - len(wrong)} agree with the entries beside them and "
        f"{len(wrong)} deviate:",
        "",
    ]
    for name, group in groupby(wrong, key=lambda check: check.table.name):
        rows = [_row_name(check) for check in group]
        lines.append(f"- `{name}`: {'; '.join(rows)}")
    unknown = list(dict.fromkeys(check.table.name for check in checks if check.consistent is None))
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        lines += ["", f"{names} print gains whose scores stand in other tables, if anywhere."]
    return "\n".join([*lines, ""])


def _section(checks: Sequence[Check]) -> str:
    table = checks[0].table
    lines = [f"## {table.name}: {table.title}", "", f"{table.source}.", ""]
    known = [check for check in checks if check.consistent is not None]
    if not known:
        return "\n".join([*lines, "The table prints no scores beside its gains.", ""])
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
    """Label of the row, with what else is needed to find it."""
    part = check.table.parts[check.part]
    row = part.rows[check.row].label
    label = f"{part.label}: {row}" if len(check.table.parts) > 1 and part.label not in row else row
    gains = [column for column in part.columns if column.quantity == check.column.quantity]
    return f"{label}, {check.column.header}" if len(gains) > 1 else label
