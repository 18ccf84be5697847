"""``taskprism analyze affinity``: label affinity of tasks over dilations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from taskprism.analysis.affinity import DILATIONS, LabelAffinity, label_affinity
from taskprism.analysis.affinity_plot import plot_affinity
from taskprism.analysis.picking import spread
from taskprism.atomic import write_json
from taskprism.cli.wide import print_wide
from taskprism.data import create_protocol
from taskprism.data.protocol import Split
from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.visualization.plotting import save_figure


def affinity(
    protocol: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROTOCOL")],
    /,
    *,
    out: Path,
    root: Path | None = None,
    tasks: tuple[str, ...] = (),
    split: Split = "train",
    images: int = 100,
    dilations: tuple[int, ...] = DILATIONS,
    kernel: int = 3,
    thresholds: tuple[str, ...] = (),
) -> None:
    """Count how well pairs of pixels that are alike in one task are alike in another.

    MTI-Net, figure 2b. Writes OUT/affinity.json and OUT/affinity.png.

    Args:
        protocol: A name of `taskprism list protocols`, or a data YAML.
        out: Folder for the results.
        root: Folder of the data.
        tasks: Which tasks; by default all of the protocol.
        split: Which images.
        images: How many of them, spread evenly over the split.
        dilations: Pixels between neighbors in a patch.
        kernel: Side of the patch, odd.
        thresholds: TASK=NUMBER, below which two labels are alike, where it should not be the
            task's own (depth: relative difference, normals: degrees).
    """
    source = create_protocol(protocol, root=root, tasks=list(tasks) or None)
    source.check_split(split)
    dataset = source.dataset(split, source.evaluation_transform())
    chosen = spread(len(dataset), images)
    reporter = Reporter()
    result = label_affinity(
        (dataset[i] for i in reporter.track(chosen, "reading labels")),
        [source.task(name) for name in tasks] if tasks else source.tasks,
        dilations,
        kernel,
        _numbers(thresholds),
    )
    height, width = source.input_size
    title = f"Label affinity on {source.name} {split}, {height} x {width}"
    write_json(out / "affinity.json", {"protocol": source.name, "split": split} | result.to_json())
    file = save_figure(plot_affinity(result, title), out / "affinity.png")
    _print(result, title)
    reporter.line(f"Written to {file} and {out / 'affinity.json'}.")


def _numbers(words: Iterable[str]) -> dict[str, float]:
    numbers = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            numbers[name] = float(number)
        except ValueError:
            raise InputError(f"Threshold {word!r} is not of the form TASK=NUMBER.") from None
    return numbers


def _print(result: LabelAffinity, title: str) -> None:
    """The plot's first panel as a table."""
    table = Table(title=f"{title}: share of pairs judged alike, by dilation")
    table.add_column("tasks")
    for dilation in dict.fromkeys(match.dilation for match in result.matches):
        table.add_column(str(dilation), justify="right")
    for pair in dict.fromkeys((match.first, match.second) for match in result.matches):
        row = [match for match in result.matches if (match.first, match.second) == pair]
        table.add_row(" – ".join(pair), *(f"{match.agreement:.2f}" for match in row))
    print_wide(table)
