"""``taskprism evaluate``: score a trained run."""

from __future__ import annotations

import json
from typing import Literal

from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from taskprism.cli.arguments import OptionalFolder, Options, RunArgument, SplitName, options_of
from taskprism.training.launch import disconnect
from taskprism.training.run import evaluate as evaluate_run
from taskprism.training.run_directory import RunDirectory


def evaluate(
    run: RunArgument,
    /,
    *,
    split: SplitName = "test",
    checkpoint: Literal["last", "best"] = "last",
    data_root: OptionalFolder = None,
    batch_size: int | None = None,
    workers: int | None = None,
    pictures: bool = True,
    options: Options = (),
) -> None:
    """Score a trained run on a split, print every metric, and write metrics.json and pictures.

    Args:
        run: A run directory, which `taskprism train` wrote.
        split: Split of the images: train, val or test. Scores of other splits than test are written
            to metrics_SPLIT.json.
        checkpoint: Weights of the last epoch, as in the papers, or of the best one.
        data_root: Folder of the data, if it has moved since training.
        batch_size: Images per batch; by default that of the recipe.
        workers: Loader processes; by default those of the recipe.
        pictures: Draw some images with labels and predictions into RUN/pictures.
        options: Options of the protocol that differ from training, for example edge_odsf=true.
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
    console.print(f"Wrote {file}.", soft_wrap=True)
