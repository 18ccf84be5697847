"""Write a constant baseline as a run directory, to compare it with trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskprism.atomic import check_writable
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError
from taskprism.progress import Reporter
from taskprism.recipes.schema import DataSettings, ModelSettings, Recipe
from taskprism.scoring.baselines import ConstantModel, fit_constants
from taskprism.scoring.evaluation import Results, describe, score, split_loader
from taskprism.scoring.image_states import ImageStateRecorder
from taskprism.training.experiment import build_protocol
from taskprism.training.run_directory import RunDirectory
from taskprism.training.scores import Scored, write_pictures, write_scores


def score_baseline(
    data: DataSettings,
    out: Path,
    tasks: Sequence[str] = (),
    split: Split | None = None,
    reporter: Reporter | None = None,
) -> Results:
    """Score the best constant predictions, and write them as a run.

    Args:
        data: Protocol and how it is fed.
        out: Run directory to write; scores and pictures of an earlier baseline are replaced.
        tasks: Names of tasks; by default all of the protocol.
        split: Which images to score on; by default test, or val where there is no test split.
        reporter: Progress display; by default on standard error.

    Returns:
        Task name -> metric name -> value.

    Raises:
        CheckpointError: The folder cannot be written, or holds a trained run.
        TaskprismError: A name or file is wrong, or no training image has a label of some task.
    """
    reporter = reporter or Reporter()
    run = RunDirectory(out)
    if run.recipe_file.exists():
        raise CheckpointError(
            f"{out} holds a trained run, whose scores would be lost. Choose another --out."
        )
    check_writable(out)
    protocol = build_protocol(data)
    split = protocol.scored_split if split is None else split
    protocol.check_split(split)
    chosen = [protocol.task(name) for name in tasks] if tasks else list(protocol.tasks)
    train = protocol.dataset("train", protocol.evaluation_transform())
    length = len(train)
    samples = reporter.track((train[i] for i in range(length)), "reading labels", length)
    model = fit_constants(samples, chosen)
    loader = split_loader(protocol, split, model, data.batch_size, data.workers)
    recorder = ImageStateRecorder(model.tasks) if split == protocol.scored_split else None
    results = score(model, reporter.track(loader, f"scoring {split}"), recorder=recorder)
    image_states = recorder.gathered() if recorder is not None else None
    recipe = Recipe(
        name=ConstantModel.name,
        model=ModelSettings(name=ConstantModel.name, backbone=""),
        data=data,
        tasks=[task.name for task in chosen],
    )
    scored = Scored(split, "last", epoch=0)
    write_scores(run, recipe, protocol, model, results, scored, image_states)
    write_pictures(run.pictures, protocol, split, model)
    reporter.line(f"{model.name} on {protocol.name} {split}: {describe(results, model)}")
    return results
