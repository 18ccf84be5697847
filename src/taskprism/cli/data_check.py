"""``taskprism data check``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure as Plot
from PIL import Image
from rich.console import Console

from taskprism.atomic import write_bytes, write_text
from taskprism.cli.arguments import (
    Between,
    OptionalFile,
    Options,
    ProtocolArgument,
    RootArgument,
    Tasks,
    options_of,
)
from taskprism.data import create_protocol
from taskprism.data.checking import CheckReport, check_protocol, data_count
from taskprism.errors import DataError
from taskprism.progress import tracked
from taskprism.tasks.statistics import LabelStatistics
from taskprism.text_table import TextTable
from taskprism.visualization import Figure, Section, panel, render_report, sheet
from taskprism.visualization.curves import as_svg
from taskprism.visualization.plotting import LINES, plot_style, tidy


def check(
    protocol: ProtocolArgument,
    root: RootArgument = None,
    /,
    *,
    tasks: Tasks = (),
    options: Options = (),
    samples: Annotated[int | None, tyro.conf.arg(metavar="COUNT"), Between(1)] = None,
    picture: OptionalFile = None,
    report: OptionalFile = None,
) -> int:
    """Open every file of a data set, count labels, and list what is wrong or implausible.

    The exit status is 2 if a file is missing, broken or has values out of range, and 1 if
    something needs your decision, such as a depth of exactly 0 or an image in two splits.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
        root: Folder that holds the data.
        tasks: Check the labels of these tasks only.
        options: Options of the protocol, as KEY=VALUE.
        samples: Number of samples to open per split; by default all.
        picture: File for a picture of some samples with their labels; by default
            PROTOCOL_check.png in the working directory.
        report: File for an HTML report with tables, pictures and histograms; by default
            the picture's name with the ending .html.
    """
    made = create_protocol(protocol, root=root, tasks=list(tasks) or None, **options_of(options))
    found = check_protocol(made, samples, lambda items, total: tracked(items, total, "samples"))
    print_check(found)
    file = picture or Path(f"{made.name}_check.png")
    drawn = picture_sheet(found)
    if drawn is not None:
        buffer = io.BytesIO()
        Image.fromarray(drawn).save(buffer, "PNG")
        write_bytes(file, buffer.getvalue())
        print(f"Wrote pictures to {file}; hatched pixels have no label.")
    page = report or file.with_suffix(".html")
    write_text(page, html_report(found, drawn))
    print(f"Wrote the report to {page}.")
    if found.problems:
        raise DataError(f"{made.name}: {len(found.problems)} problem(s), listed above.")
    return 1 if found.doubts else 0


def print_check(report: CheckReport) -> None:
    """Print the tables of a check, its notes, doubts and problems."""
    variant = f", variant {report.variant}" if report.variant else ""
    print(report.protocol.name + variant)
    for line in split_lines(report):
        print(f"  {line}")
    console = Console()
    if any(one.labeled for one in report.labels):
        task_table(report).print(console)
    for line in class_lines(report):
        print(f"  {line}")
    for kind, texts in (
        ("note", report.notes),
        ("DECIDE", report.doubts),
        ("PROBLEM", report.problems),
    ):
        for text in texts:
            print(f"  {kind}: {text}")
    if not report.problems and not report.doubts:
        print("  no problems found")


def split_lines(report: CheckReport) -> list[str]:
    """Number of samples of each split, and sizes of the images."""
    lines = []
    for split, count in report.splits.items():
        known = data_count(report.protocol, split)
        of = f" of {known}" if known else ""
        lines.append(f"{split}: {count}{of} samples, {report.opened.get(split, 0)} opened")
    sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in report.sizes.most_common(3))
    if sizes:
        more = f" and {len(report.sizes) - 3} more" if len(report.sizes) > 3 else ""
        lines.append(f"sizes (height x width): {sizes}{more}")
    return lines


def task_table(report: CheckReport) -> TextTable:
    """One row per task: labels, files, share of labeled pixels, range and mean."""
    rows = []
    for one in report.labels:
        if not one.labeled:
            rows.append([one.task.name, str(one.images), "", "0%", "", ""])
            continue
        values = f"{one.low:.4g} to {one.high:.4g}"
        mean = " ".join(f"{value:.3g}" for value in one.mean.tolist())
        if one.classes is not None:
            seen = int((one.classes > 0).sum())
            values, mean = f"{seen} of {one.task.channels} classes", ""
        if one.ground_pixels:
            mean += f" (n_y on floors {one.ground[1].item() / one.ground_pixels:.2f})"
        stored = report.stored.get(one.task.name, "")
        rows.append([one.task.name, str(one.images), stored, f"{one.share:.1%}", values, mean])
    headings = ["task", "labels", "first file", "labeled pixels", "values", "mean"]
    places = [0, 1, 2, 3, 4, 5] if any(row[2] for row in rows) else [0, 1, 3, 4, 5]
    return TextTable("labels", headings, rows).columns(places)


def class_lines(report: CheckReport) -> list[str]:
    """Share of the labeled pixels of each class, largest first."""
    lines = []
    for one in report.labels:
        if one.classes is None or not one.labeled:
            continue
        order = one.classes.argsort(descending=True, stable=True)
        order = [int(index) for index in order if one.classes[index]]
        shares = (one.classes / one.labeled).tolist()
        shown = [f"{one.class_names[index]} {shares[index]:.1%}" for index in order[:12]]
        more = f", {len(order) - 12} more" if len(order) > 12 else ""
        lines.append(f"{one.task.name}: {', '.join(shown)}{more}")
    return lines


def picture_sheet(report: CheckReport) -> np.ndarray | None:
    """Picture of some samples with their labels, ``(H, W, 3)`` uint8; None without labels."""
    panels = [
        panel(
            sample["image"],
            {},
            sample["targets"],
            sample["valid"],
            tasks=report.protocol.tasks,
            title=f"{report.protocol.name}: {sample['name']}",
        )
        for sample in report.samples
        if sample["targets"]
    ]
    return sheet(panels) if panels else None


def html_report(report: CheckReport, drawn: np.ndarray | None) -> str:
    """The whole check as one HTML page."""
    sections = []
    for heading, texts in (
        ("Problems", report.problems),
        ("Decide", report.doubts),
        ("Notes", report.notes),
    ):
        if texts:
            sections.append(Section(heading, [f"{text.rstrip('.')}." for text in texts]))
    sections.append(Section("Labels", class_lines(report), table=task_table(report)))
    if drawn is not None:
        caption = "Some samples with their labels; hatched pixels have no label"
        sections.append(Section("Samples", figures=[Figure(caption, drawn)]))
    plots = [
        Figure(f"{one.task.name}, {one.images} labels", histogram(one))
        for one in report.labels
        if one.labeled
    ]
    if plots:
        sections.append(Section("Values", figures=plots))
    protocol = report.protocol
    summary = [*split_lines(report)]
    if protocol.license:
        summary.append(f"License of the data: {protocol.license}")
    if not report.problems and not report.doubts:
        summary.append("No problems found.")
    return render_report(f"Check of {protocol.name}", summary, sections)


def histogram(labels: LabelStatistics) -> str:
    """SVG: pixels per class, or the distribution of the values of the first channel."""
    with plot_style():
        figure = Plot(figsize=(6.4, 2.4), layout="constrained")
        axis = figure.add_subplot()
        if labels.classes is not None:
            shares = (100 * labels.classes / max(labels.labeled, 1)).tolist()
            axis.bar(range(len(shares)), shares, color=LINES[0])
            axis.set_ylabel("% of labeled pixels")
            if len(shares) <= 20:
                names = labels.class_names
                axis.set_xticks(range(len(shares)), names, rotation=45, ha="right")
        else:
            axis.hist(torch.cat(labels.values).double().numpy(), bins=50, color=LINES[0])
            axis.set_xlabel("value (first channel)" if labels.task.target_channels > 1 else "value")
            axis.set_yticks([])
        tidy(axis)
        return as_svg(figure)
