"""``taskprism data``: describe, build and pack data sets; one function per action."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
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
from taskprism.data.describing import describe_protocol
from taskprism.data.protocol import Split
from taskprism.data.shards import pack
from taskprism.progress import tracked

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def describe(protocol: ProtocolArgument, /) -> None:
    """Print where to get the data of a protocol, its license, tasks, conventions and folders.

    Args:
        protocol: A protocol (a named benchmark, see `taskprism list protocols`) or a data YAML.
    """
    print(describe_protocol(protocol))


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
