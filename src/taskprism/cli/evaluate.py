"""``taskprism evaluate``: score a trained run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from taskprism.cli.words import options_of
from taskprism.data.protocol import Split
from taskprism.training.launch import disconnect
from taskprism.training.run import evaluate as evaluate_run
from taskprism.training.run_directory import RunDirectory


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    split: Split = "test",
    checkpoint: Literal["last", "best"] = "last",
    data_root: Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    pictures: bool = True,
    options: tuple[str, ...] = (),
) -> None:
    """Score a trained run, print every metric, and write metrics.json and pictures into the run.

    Args:
        run: A run directory.
        split: Which images; scores of others than test go to metrics_SPLIT.json.
        checkpoint: The last epoch as in the papers, or the best one.
        data_root: Folder of the data, if it is no longer where the recipe says.
        batch_size: Images at once; by default the recipe's.
        workers: Loader processes; by default the recipe's.
        pictures: Draw panels of some images into RUN/pictures.
        options: Other options of the protocol than in training, as KEY=VALUE: edge_odsf=true.
    """
    results = evaluate_run(
        run,
        split,
        checkpoint,
        data_root,
        batch_size,
        workers,
        pictures,
        options=options_of(options),
    )
    is_first = PartialState().is_main_process
    disconnect()
    if not is_first:
        return
    file = RunDirectory(run).scores_file(split)
    scored = json.loads(file.read_text(encoding="utf-8"))
    weights = f"checkpoint {checkpoint} (epoch {scored['epoch']})"
    table = Table(title=f"{scored['run']} on {scored['protocol']} {split}, {weights}")
    table.add_column("task")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for task, values in results.items():
        for number, (metric, value) in enumerate(values.items()):
            table.add_row("" if number else task, metric, f"{value:.4f}")
    console = Console()
    console.print(table)
    console.print(f"Written to {file}.", soft_wrap=True)
