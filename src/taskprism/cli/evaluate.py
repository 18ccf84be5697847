"""``taskprism evaluate``: score a trained run."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro
from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from taskprism.cli.arguments import (
    DataRoot,
    OptionalCount,
    OptionalSplit,
    OptionalWorkers,
    Options,
    RunArgument,
    options_of,
)
from taskprism.training.evaluation import evaluate_run
from taskprism.training.launch import disconnect


def evaluate(
    run: RunArgument,
    /,
    *,
    split: OptionalSplit = None,
    checkpoint: Literal["last", "best"] = "last",
    data: Annotated[str | None, tyro.conf.arg(metavar="PROTOCOL")] = None,
    data_root: DataRoot = None,
    allow_other_data: bool = False,
    batch_size: OptionalCount = None,
    workers: OptionalWorkers = None,
    pictures: bool = True,
    options: Options = (),
) -> None:
    """Score a trained run on a split, print every metric, and write metrics.json and pictures.

    Args:
        run: A run directory, which `taskprism train` wrote.
        split: Split of the images: train, val or test. By default test, or val where the data have
            no test split. Scores of another split are written to metrics_SPLIT.json.
        checkpoint: Weights of the last epoch, as in the papers, or of the best one.
        data: The data YAML or protocol, if it is no longer where the recipe says.
        data_root: Folder of the data or its URL, if it has moved since training.
        allow_other_data: Score on other data than the run was trained on; the file of the scores
            then says so.
        batch_size: Images per batch; by default that of the recipe.
        workers: Loader processes; by default those of the recipe.
        pictures: Draw some images with labels and predictions into RUN/pictures.
        options: Options of the protocol that differ from training, for example edge_odsf=true.
    """
    evaluation = evaluate_run(
        run,
        split,
        checkpoint,
        data_root,
        batch_size,
        workers,
        pictures,
        options=options_of(options),
        protocol=data,
        allow_other_data=allow_other_data,
    )
    is_first = PartialState().is_main_process
    disconnect()
    if not is_first:
        return
    table = Table(title=evaluation.title)
    table.add_column("task")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for task, values in evaluation.results.items():
        for number, (metric, value) in enumerate(values.items()):
            table.add_row("" if number else task, metric, f"{value:.4f}")
    console = Console()
    console.print(table)
    if evaluation.error is not None:
        raise evaluation.error
    console.print(f"Wrote {evaluation.file}.", soft_wrap=True)
