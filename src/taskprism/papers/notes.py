"""What a reader of a result must know, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskprism.papers.ordering import orderings
from taskprism.papers.results import PartResult, RowResult, TableResult
from taskprism.papers.table import Column
from taskprism.papers.text import MISPRINT

NO_ORDER = "Fewer than three rows have both figures, so there is no order to compare."


def setting_notes(result: TableResult) -> list[str]:
    """Whose figures stand beside whose, and whether they may be compared."""
    request, table = result.plan.request, result.plan.table
    lines = [f"Paper: {table.source}."]
    if request.as_published:
        lines.append(
            "Ours: the recipes of the paper on its data; the difference is ours minus the paper's."
        )
    else:
        lines.append(
            f"Ours: {' and '.join(result.protocols) or request.protocol or 'the same data'}, "
            f"budget {request.budget}. Other data or a shorter training than the paper's: compare "
            "the order of the rows with the paper, not the figures."
        )
    if result.done < result.total:
        lines.append(f"Not finished: {result.done} of {result.total} runs have scores.")
    if result.failed:
        names = ", ".join(result.failed)
        lines.append(f"{len(result.failed)} of {result.total} runs failed: {names}.")
    return lines


def part_notes(result: TableResult, part: PartResult) -> list[str]:
    """How the columns of a part are to be read, and what is special about its rows."""
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
    """What the rows' recipes have otherwise than published, each change once."""
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
    """Which order the rows stand in, here and in the paper."""
    lines = [
        sentence
        for column, each in orderings(part)
        for sentence in (each.chains(column.digits), *each.findings())
    ]
    return lines or [NO_ORDER]


def one_seed_note(rows: Sequence[RowResult]) -> str:
    """What is to be said about rows of a single seed; empty if there are none."""
    single = [row.label for row in rows if len(row.seeds) == 1]
    if not single:
        return ""
    if len(single) == sum(bool(row.seeds) for row in rows):
        return "One seed each, so there is no spread over seeds, and no order is settled."
    return f"One seed only, so no spread over seeds: {', '.join(single)}."


def same_run_notes(rows: Sequence[RowResult]) -> list[str]:
    """Which rows are the same runs under this request, one sentence per group."""
    labels: Mapping[str, str] = {row.key: row.label for row in rows}
    groups = dict.fromkeys(
        tuple(key for key in labels if key == row.key or key in row.same_as)
        for row in rows
        if row.same_as
    )
    return [
        "The same runs here, because their recipes do not differ under this request: "
        f"{', '.join(labels[key] for key in group)}."
        for group in groups
        if len(group) > 1
    ]


def _meaning(part: PartResult, column: Column) -> str:
    if column.task is not None:
        unit = "" if column.scale == 1 else f" times {column.scale:g}"
        missing = part.tasks and column.task not in part.tasks
        absent = ", which is not among the tasks here" * bool(missing)
        return f"{column.header}: {column.metric} of {column.task}{unit}{absent}"
    meaning = {
        "gain": "mean relative gain over the tasks against the baseline row of the same seed",
        "drop": "mean relative drop over the tasks against the baseline row of the same seed",
        "parameters": "learnt values of the network",
        "macs": "multiply-adds for one image",
        "seconds": "seconds of training one run",
    }[str(column.quantity)]
    form = {
        "absolute": "",
        "ratio": ", as a multiple of the baseline row's",
        "percent": ", as change against the baseline row in percent",
    }[column.form]
    return f"{column.header}: {meaning}{form}"
