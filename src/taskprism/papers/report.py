"""Write a result: ``table.md``, ``table.json`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskprism.atomic import write_text
from taskprism.papers.notes import NO_ORDER, part_notes, setting_notes
from taskprism.papers.ordering import orderings
from taskprism.papers.plots import plot_columns
from taskprism.papers.results import PartResult, TableResult
from taskprism.papers.table import Column
from taskprism.papers.tables import commands, lines, markdown, to_json
from taskprism.papers.text import headings, setting, title
from taskprism.visualization import Figure, Section, TableBlock, as_svg, write_report


def write_result(result: TableResult, folder: Path) -> Path:
    """Write everything there is to read about a result.

    Args:
        result: Finished or not.
        folder: Where to; made if it does not exist.

    Returns:
        The HTML file.

    Raises:
        CheckpointError: A file cannot be written.
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
        sections.append(Section("Failed runs", ["Their rows lack these seeds."], facts=facts))
    return [*sections, _origin(result)]


def _part_sections(result: TableResult, part: PartResult) -> list[Section]:
    name = part.part.label or part.name
    shared = result.plan.request.as_published
    rows, marks = lines(result, part)
    table = TableBlock(
        setting(result),
        headings(result, part),
        rows,
        frozenset(marks),
        part_notes(result, part),
    )
    relative = [column for column in part.columns if column.quantity in {"gain", "drop"}]
    metrics = [column for column in part.columns if column.task is not None]
    figures = [
        Figure(f"{caption}, the paper's and ours", as_svg(plot_columns(part, group, shared)))
        for caption, columns in (("Δm", relative), ("Every metric", metrics))
        for group in _groups(columns, 4 if shared else 2)
        if any(row.cells[column.key].ours for row in part.rows for column in group)
    ]
    suffix = f": {name}" if name else ""
    return [
        Section(f"Ours beside the paper's{suffix}", [], table, figures),
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
        table = TableBlock(f"By {column.header}", ["place", "paper", "ours"], rows)
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
        "How to make it again",
        [
            "Each run directory holds its resolved recipe, manifest, log, checkpoints, scores and "
            "pictures. Where the facts below name several values, runs differ in them."
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
