"""Write a result: ``table.md``, ``table.json`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

from taskprism.atomic import write_text
from taskprism.papers.results import Cell, PartResult, RowResult, TableResult, orderings
from taskprism.papers.table import Column
from taskprism.papers.text import (
    NO_ORDER,
    arrow_title,
    commands,
    markdown,
    setting,
    setting_notes,
    text_table,
    title,
    to_json,
)
from taskprism.text_table import TextTable
from taskprism.visualization import Figure, Section, as_svg, write_report


def write_result(result: TableResult, folder: Path) -> Path:
    """Write a result as Markdown, JSON and an HTML report.

    Args:
        result: The result; it may be incomplete.
        folder: Folder to write to; created if it does not exist.

    Returns:
        The HTML file.

    Raises:
        CheckpointError: A file cannot be written.

    Example:
        >>> import tempfile
        >>> from taskprism.papers import Place, Request, collect, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> place = Place(Path(tempfile.mkdtemp()))
        >>> result = collect(make_plan(load_table("mti_net/2a"), request), place)
        >>> write_result(result, place.table(result.plan)).name
        'report.html'
    """
    write_text(folder / "table.md", markdown(result))
    write_text(folder / "table.json", to_json(result))
    page = folder / "report.html"
    summary = [*setting_notes(result), *result.notes]
    write_report(page, title(result), summary, _sections(result))
    return page


def _sections(result: TableResult) -> list[Section]:
    sections = []
    for part in result.parts:
        sections += _part_sections(result, part)
    if result.failed:
        facts = list(result.failed.items())
        sections.append(
            Section("Failed runs", ["The rows of these runs lack a seed."], facts=facts)
        )
    return [*sections, _origin(result)]


def _part_sections(result: TableResult, part: PartResult) -> list[Section]:
    name = part.part.label or part.name
    shared = result.plan.request.as_published
    table = replace(text_table(result, part), title=setting(result))
    relative = [column for column in part.columns if column.quantity in {"gain", "drop"}]
    metrics = [column for column in part.columns if column.task is not None]
    figures = [
        Figure(f"{caption}, paper and ours", as_svg(plot_columns(part, group, shared)))
        for caption, columns in (("Δm", relative), ("Every metric", metrics))
        for group in _groups(columns, 4 if shared else 2)
        if any(row.cells[column.key].ours for row in part.rows for column in group)
    ]
    suffix = f": {name}" if name else ""
    return [
        Section(f"Paper and ours{suffix}", [], table, figures),
        *_order_sections(part, suffix),
    ]


def _order_sections(part: PartResult, suffix: str) -> list[Section]:
    found = orderings(part)
    sections = []
    for column, order in found:
        rows = [
            [str(place), *(f"{label} ({value:.{column.digits}f})" for label, value in pair)]
            for place, pair in enumerate(zip(order.paper, order.ours, strict=True), start=1)
        ]
        table = TextTable(f"By {column.header}", ["place", "paper", "ours"], rows)
        by = f" by {column.header}" if len(found) > 1 else ""
        sections.append(Section(f"The order of the rows{by}{suffix}", order.findings(), table))
    return sections or [Section(f"The order of the rows{suffix}", [NO_ORDER])]


def _groups(columns: Sequence[Column], size: int) -> list[Sequence[Column]]:
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _origin(result: TableResult) -> Section:
    facts = [("Table", f"{result.plan.table.name}, {result.plan.table.source}")]
    manifests = _manifests(result)
    for name, read in (
        ("Data", lambda m: m["licenses"]["data"]),
        ("Data fingerprint", lambda m: m["data_fingerprint"]),
        ("Input size", lambda m: " x ".join(map(str, m["protocol"]["input_size"]))),
        ("First weights", lambda m: m["licenses"]["weights"]),
        ("Machine", _machine),
        ("Commit", lambda m: _commit(m["git"])),
        ("Versions", lambda m: ", ".join(f"{k} {v}" for k, v in m["versions"].items())),
    ):
        values = dict.fromkeys(str(read(manifest)) for manifest in manifests.values())
        if any(values):
            facts.append((name, "; ".join(value for value in values if value)))
    resumed = [name for name, manifest in manifests.items() if manifest["resumed"]]
    if resumed:
        facts.append(("Interrupted and resumed", ", ".join(resumed)))
    return Section(
        "How to reproduce",
        [
            "Each run directory contains the resolved recipe, manifest, log, checkpoints, scores "
            "and pictures. If a fact below has several values, the runs differ in it."
        ],
        facts=facts,
        commands=commands(result),
    )


def _manifests(result: TableResult) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for run in result.plan.runs:
        file = result.folder / "runs" / run.name / "manifest.json"
        if file.is_file():
            found[run.name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _machine(manifest: Mapping[str, Any]) -> str:
    hardware = manifest["hardware"]
    device = hardware["accelerator"] or hardware["device"]
    return f"{device}, {hardware['cores']} cores, {hardware['threads']} threads, {hardware['cpu']}"


def _commit(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return ""
    return f"{git['commit'][:12]}{' with changes' * bool(git['changed'])}"


_PAPER, _OURS = "#8a929c", "#0072B2"
_WIDTH, _LINE = 2.6, 0.27  # inches of a panel and of a row in it


def plot_columns(part: PartResult, columns: Sequence[Column], shared: bool) -> MplFigure:
    """Plot the numbers of every row in some columns.

    Args:
        part: The part, with rows from top to bottom.
        columns: Columns, drawn side by side.
        shared: The paper's numbers and ours are comparable and share a panel; otherwise each has a
            separate panel.

    Example:
        >>> from taskprism.papers import load_table
        >>> table = load_table("mti_net/2a")
        >>> rows = (RowResult("ours", "Ours", "trained", {"depth": Cell(paper=0.53)}),)
        >>> part = PartResult("", table.parts[""], rows, {"depth": False})
        >>> len(plot_columns(part, [part.part.column("depth")], shared=False).axes)
        2
    """
    rows = [row for row in part.rows if any(_known(row.cells[c.key]) for c in columns)]
    step = 1 if shared else 2
    labels = max((len(row.label) for row in rows), default=0) * 0.075
    size = (labels + _WIDTH * step * len(columns), 0.9 + _LINE * len(rows))
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "path"}):
        figure = MplFigure(figsize=size, layout="constrained")
        axes = figure.subplots(1, step * len(columns), squeeze=False, sharey=True)[0]
        for number, column in enumerate(columns):
            paper, ours = axes[number * step], axes[(number + 1) * step - 1]
            title = arrow_title(part, column)
            _paper(paper, rows, column)
            _ours(ours, rows, column)
            ours.set_title(f"{title}, ours", loc="left", fontweight="bold")
            paper.set_title(title if shared else f"{title}, paper", loc="left", fontweight="bold")
            for axis in {paper, ours}:
                _style(axis, column)
        axes[0].set_yticks(range(len(rows)), [row.label for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        if shared:
            handles, names = axes[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _paper(axis: Axes, rows: Sequence[RowResult], column: Column) -> None:
    known = [(row.cells[column.key].paper, y) for y, row in enumerate(rows)]
    points = [(x, y) for x, y in known if x is not None]
    if points:
        xs, ys = zip(*points, strict=True)
        axis.plot(xs, ys, "D", color=_PAPER, mfc="none", ms=5, label="paper")


def _ours(axis: Axes, rows: Sequence[RowResult], column: Column) -> None:
    label = "ours"
    for y, row in enumerate(rows):
        cell = row.cells[column.key]
        if cell.ours is None:
            continue
        if cell.range is not None:
            axis.plot([cell.range.low, cell.range.high], [y, y], color=_OURS, lw=1.6)
        axis.plot([cell.ours.mean], [y], "o", color=_OURS, ms=5, label=label)
        label = "_"  # one entry in the legend


def _known(cell: Cell) -> bool:
    return cell.paper is not None or cell.ours is not None


def _style(axis: Axes, column: Column) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", color="#e3e6ea", lw=0.7)
    axis.set_axisbelow(True)
    axis.margins(x=0.12)
    axis.locator_params(axis="x", nbins=5)
    if column.relative and column.form != "ratio":
        axis.axvline(0, color="#20242a", lw=0.8)
