"""``taskprism analyze affinity``: label affinity of tasks over dilations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import tyro
from rich.table import Table

from taskprism.analysis.affinity import DILATIONS, LabelAffinity, label_affinity, plot_affinity
from taskprism.atomic import check_writable, write_json
from taskprism.cli.arguments import (
    Between,
    Folder,
    Images,
    OptionalFolder,
    ProtocolArgument,
    SplitName,
    Tasks,
)
from taskprism.data import create_protocol
from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.scoring.evaluation import evenly_spaced
from taskprism.text_table import print_whole
from taskprism.visualization.plotting import save_figure


def affinity(
    protocol: ProtocolArgument,
    /,
    *,
    out: Folder,
    root: OptionalFolder = None,
    tasks: Tasks = (),
    split: SplitName = "train",
    images: Images = 100,
    dilations: Annotated[
        tuple[int, ...], tyro.conf.arg(metavar="[PIXELS ...]"), Between(1)
    ] = DILATIONS,
    kernel: Annotated[int, tyro.conf.arg(metavar="PIXELS"), Between(1)] = 3,
    thresholds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[TASK=NUMBER ...]")] = (),
) -> None:
    """Count how often two pixels that are alike in one task are alike in another.

    As in figure 2b of MTI-Net. Writes DIR/affinity.json and DIR/affinity.png.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
        out: Folder for the results.
        root: Folder that holds the data.
        tasks: Tasks to compare; by default all of the protocol.
        split: Split of the images: train, val or test.
        images: Number of images, evenly spaced over the split.
        dilations: Pixels between neighbors in a patch.
        kernel: Side of the patch in dilated pixels, odd.
        thresholds: Difference below which two labels are alike, if not the task's default (depth:
            relative difference, normals: degrees).
    """
    check_writable(out)
    source = create_protocol(protocol, root=root, tasks=list(tasks) or None)
    source.check_split(split)
    dataset = source.dataset(split, source.evaluation_transform())
    chosen = evenly_spaced(len(dataset), images)
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
    reporter.line(f"Wrote {file} and {out / 'affinity.json'}.")


def _numbers(words: Iterable[str]) -> dict[str, float]:
    numbers = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            numbers[name] = float(number)
        except ValueError:
            raise InputError(f"Expected TASK=NUMBER for a threshold, got {word!r}.") from None
    return numbers


def _print(result: LabelAffinity, title: str) -> None:
    """Print the first panel of the plot as a table."""
    table = Table(title=f"{title}: share of pairs judged alike, by dilation")
    table.add_column("tasks")
    for dilation in dict.fromkeys(match.dilation for match in result.matches):
        table.add_column(str(dilation), justify="right")
    for pair in dict.fromkeys((match.first, match.second) for match in result.matches):
        row = [match for match in result.matches if (match.first, match.second) == pair]
        table.add_row(" – ".join(pair), *(f"{match.agreement:.2f}" for match in row))
    print_whole(table)
