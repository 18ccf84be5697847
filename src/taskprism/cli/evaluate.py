"""``taskprism evaluate``: score a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from taskprism.data.protocol import Split
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
    """
    results = evaluate_run(run, split, checkpoint, data_root, batch_size, workers, pictures)
    recipe = RunDirectory(run).recipe()
    named = recipe.data.protocol
    protocol = named if isinstance(named, str) else "+".join(Path(name).stem for name in named)
    table = Table(title=f"{recipe.name} on {Path(protocol).stem} {split}, checkpoint {checkpoint}")
    table.add_column("task")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for task, values in results.items():
        for number, (metric, value) in enumerate(values.items()):
            table.add_row("" if number else task, metric, f"{value:.4f}")
    Console().print(table)
