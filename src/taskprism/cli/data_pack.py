"""``taskprism data pack``: put a data set into a few tar files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taskprism.cli.words import options_of
from taskprism.data import create_protocol
from taskprism.data.protocol import Split
from taskprism.data.shards import pack


def pack_shards(
    protocol: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROTOCOL")],
    root: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="ROOT")] = None,
    /,
    *,
    out: Path,
    tasks: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    shard_megabytes: int = 1000,
    workers: int = 0,
) -> None:
    """Write all splits into WebDataset tars, without loss, and an index beside them.

    Train from them with `data.protocol: OUT` in the recipe, or a list of several such folders.

    Args:
        protocol: A name of `taskprism list protocols`, or a data YAML.
        root: Folder of the data.
        out: Folder for the tars.
        tasks: Pack the labels of these only.
        options: Options of the protocol, as KEY=VALUE.
        shard_megabytes: A tar ends with the sample that brings it to so many million bytes.
        workers: Processes that read and encode; 0 does it in this one.
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
    print(f"Train with the protocol {out}.")
