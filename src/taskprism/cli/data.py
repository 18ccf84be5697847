"""``taskprism data``: describe, check, build and pack data sets; one function per action."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taskprism.cli.arguments import (
    MOST_WORKERS,
    Between,
    Count,
    File,
    Folder,
    OptionalFile,
    Options,
    ProtocolArgument,
    RootArgument,
    Tasks,
    Workers,
    options_of,
)
from taskprism.data import create_protocol
from taskprism.data.benchmarks.nyud_build import NyudBuild
from taskprism.data.checking import CheckReport, check_protocol, data_count
from taskprism.data.describing import describe_protocol
from taskprism.data.protocol import Split
from taskprism.data.shards import pack
from taskprism.errors import DataError
from taskprism.progress import tracked
from taskprism.visualization import panel, sheet

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def describe(protocol: ProtocolArgument, /) -> None:
    """Print where to get the data of a protocol, its license, tasks, conventions and folders.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
    """
    print(describe_protocol(protocol))


def check(
    protocol: ProtocolArgument,
    root: RootArgument = None,
    /,
    *,
    tasks: Tasks = (),
    options: Options = (),
    samples: Annotated[int | None, tyro.conf.arg(metavar="COUNT"), Between(1)] = None,
    picture: OptionalFile = None,
) -> None:
    """Open every file of a data set, count labels, check values and draw some samples.

    The exit status is 2 if a file is missing, broken or has values out of range.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
        root: Folder that holds the data.
        tasks: Check the labels of these tasks only.
        options: Options of the protocol, as KEY=VALUE.
        samples: Number of samples to open per split; by default all.
        picture: File for a picture of some samples with their labels; by default
            PROTOCOL_check.png in the working directory.
    """
    made = create_protocol(protocol, root=root, tasks=list(tasks) or None, **options_of(options))
    report = check_protocol(
        made, samples, lambda indices, total: tracked(indices, total, "samples")
    )
    print(summary(report))
    file = picture or Path(f"{made.name}_check.png")
    if draw(report, file):
        print(f"Wrote pictures to {file}; hatched pixels have no label.")
    if report.problems:
        raise DataError(f"{made.name}: {len(report.problems)} problem(s), listed above.")


def summary(report: CheckReport) -> str:
    """Format a check report as text."""
    lines = [report.protocol.name + (f", variant {report.variant}" if report.variant else "")]
    for split, count in report.splits.items():
        known = data_count(report.protocol, split)
        of = f" of {known}" if known else ""
        lines.append(f"  {split}: {count}{of} samples, {report.opened.get(split, 0)} opened")
    sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in report.sizes.most_common(3))
    if sizes:
        more = f" and {len(report.sizes) - 3} more" if len(report.sizes) > 3 else ""
        lines.append(f"  sizes (height x width): {sizes}{more}")
    for one in report.labels:
        if not one.labeled:
            continue
        text = f"  {one.task.name}: {one.images} images, {one.share:.1%} of pixels labeled, "
        if one.classes is not None:
            seen = int((one.classes > 0).sum())
            text += f"{seen} of {one.task.channels} classes"
        else:
            text += f"{one.low:.4g} to {one.high:.4g}, mean "
            text += " ".join(f"{value:.3g}" for value in one.mean.tolist())
        if one.ground_pixels:
            text += f", mean n_y on the floor {one.ground[1].item() / one.ground_pixels:.2f}"
        lines.append(text)
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  PROBLEM: {problem}" for problem in report.problems]
    if not report.problems:
        lines.append("  no problems found")
    return "\n".join(lines)


def draw(report: CheckReport, file: Path) -> bool:
    """Write a picture of samples with their labels; return False if there are no labels."""
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
    if panels:
        try:
            Image.fromarray(sheet(panels)).save(file)
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot write the pictures to {file}: {error}.") from None
    return bool(panels)


def build(
    dataset: Annotated[Literal["nyud"], tyro.conf.Positional],
    /,
    *,
    source: Annotated[Path, tyro.conf.arg(name="from", metavar="FILE")],
    splits: File,
    classes: File,
    out: Folder,
    thirteen: OptionalFile = None,
    full: Flag = False,
    workers: Annotated[int, Between(1, MOST_WORKERS)] = 1,
) -> None:
    """Build NYUD-v2 from the official files. An interrupted build resumes with the same command.

    Normals are fitted to the depth, and edges are the boundaries of labeled objects; both differ
    from the published archives.

    Args:
        dataset: The data set to build.
        source: nyu_depth_v2_labeled.mat.
        splits: splits.mat, with trainNdxs and testNdxs.
        classes: classMapping40.mat (mapClass) or labels40.mat (labels40).
        out: Folder for the data set.
        thirteen: class13Mapping.mat, to build nyud13 at 288x384 instead of nyud40.
        full: Keep all 480x640 pixels, with the white frame, instead of the usual 425x560.
        workers: Number of processes.
    """
    made = NyudBuild(source, splits, classes, out, thirteen, crop=not full)
    name = "nyud40" if thirteen is None else "nyud13"
    made.run(workers, lambda items, total: tracked(items, total, "images"))
    print(f"Wrote {out}. Check it with: taskprism data check {name} {out}")


def pack_shards(
    protocol: ProtocolArgument,
    root: RootArgument = None,
    /,
    *,
    out: Folder,
    tasks: Tasks = (),
    options: Options = (),
    shard_megabytes: Count = 1000,
    workers: Workers = 0,
) -> None:
    """Write all splits into WebDataset tar files, without loss, with an index.

    To train from them, set `data.protocol: DIR` in the recipe, or a list of several such folders.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
        root: Folder that holds the data.
        out: Folder for the tar files.
        tasks: Pack the labels of these tasks only.
        options: Options of the protocol, as KEY=VALUE.
        shard_megabytes: Size of a tar file in million bytes; the last sample may exceed it.
        workers: Processes that read and encode; with 0 the main process does.
    """
    chosen = options_of(options)
    made = create_protocol(protocol, root=root, tasks=list(tasks) or None, **chosen)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bars: dict[str, Any] = {}

        def advance(split: Split) -> None:
            if split not in bars:
                total = len(made.dataset(split))
                bars[split] = progress.add_task(split, total=total)
            progress.advance(bars[split])

        index = pack(made, out, shard_megabytes * 1_000_000, workers, advance)
    for split, shards in index.splits.items():
        size = sum(shard.size for shard in shards) / 1e6
        counts = ", ".join(f"{name} {count}" for name, count in index.counts(split).items())
        print(f"{split}: {len(shards)} tars, {size:.1f} MB; {counts}")
    print(f"Wrote {out}. Train from it with: --data.protocol {out}")
