"""``taskprism baseline``: what an answer that ignores the image is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.analysis.baselines import ConstantModel, fit_constants
from taskprism.data import create_protocol
from taskprism.data.protocol import Split
from taskprism.training.evaluation import describe, score, split_loader
from taskprism.training.progress import Reporter
from taskprism.training.recipe import DataSettings, ModelSettings, Recipe
from taskprism.training.run_directory import RunDirectory
from taskprism.training.scores import Scored, write_pictures, write_scores


def baseline(
    protocol: Annotated[str, tyro.conf.Positional],
    /,
    *,
    out: Path,
    root: Path | None = None,
    tasks: tuple[str, ...] = (),
    split: Split = "test",
    input_size: tuple[int, int] | None = None,
    batch_size: int = 8,
) -> None:
    """Score majority class, mean depth, mean normal, ... of the training labels on a split.

    Writes a run directory, which `taskprism compare` shows as a row beside trained networks.

    Args:
        protocol: Name of a protocol, or a data YAML.
        out: Run directory to write.
        root: Folder of the data.
        tasks: Which tasks; by default all of the protocol.
        split: Which images to score on.
        input_size: Height and width, as the runs to compare with have it; by default the
            protocol's.
        batch_size: Images at once.
    """
    options = {} if input_size is None else {"input_size": list(input_size)}
    made = create_protocol(protocol, root=root, **options)
    chosen = [made.task(name) for name in tasks] if tasks else list(made.tasks)
    reporter = Reporter()
    train = made.dataset("train", made.evaluation_transform())
    length = len(train)  # pyrefly: ignore[bad-argument-type]
    samples = reporter.track((train[i] for i in range(length)), "reading labels", length)
    model = fit_constants(samples, chosen)
    loader = split_loader(made, split, model, batch_size)
    results = score(model, reporter.track(loader, f"scoring {split}"))
    recipe = Recipe(
        name=ConstantModel.name,
        model=ModelSettings(name=ConstantModel.name, backbone="", options={}),
        data=DataSettings(protocol=protocol, root=root, options=options),
        tasks=[task.name for task in chosen],
    )
    run = RunDirectory(out)
    out.mkdir(parents=True, exist_ok=True)
    write_scores(run, recipe, made, model, results, Scored(split, "last", epoch=0))
    write_pictures(run.pictures, made, split, model)
    reporter.line(f"{made.name} {split}: {describe(results, model)}")
    reporter.line(f"Run in {out}")
