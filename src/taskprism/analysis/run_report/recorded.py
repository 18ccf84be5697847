"""What a run directory holds, read as far as it is complete."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError, DataError
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import Results
from taskprism.scoring.image_states import ImageStates, read_image_states
from taskprism.scoring.runs import RunResult, read_run
from taskprism.training.run_directory import CheckpointName, RunDirectory, read_manifest

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Recorded:
    """The files of a run.

    Attributes:
        run: Its directory.
        recipe: Its recipe.
        manifest: Content of ``manifest.json``; empty if there is none.
        log: Entries of ``log.jsonl``.
        result: Scores of the run, or None if it is not finished.
        results: Split -> scores, of every split that was scored; without a finished run, of the
            last evaluation during training.
        checkpoint: Weights that were scored.
        states: States of the metrics for each image, if they belong to the scores.
        missing: What is not there, one sentence each.
    """

    run: RunDirectory
    recipe: Recipe
    manifest: Mapping[str, Any]
    log: list[dict[str, Any]]
    result: RunResult | None
    results: Mapping[str, Results]
    checkpoint: CheckpointName
    states: ImageStates | None
    missing: tuple[str, ...]

    @property
    def trained_epochs(self) -> int:
        """Finished epochs in the log."""
        return max((int(entry.get("epoch", 0)) for entry in self.entries("train")), default=0)

    @property
    def training_seconds(self) -> float:
        """Time of all epochs in the log, without evaluations."""
        return math.fsum(float(entry.get("seconds") or 0) for entry in self.entries("train"))

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch was trained and scored."""
        return self.result is not None and self.trained_epochs >= self.recipe.epochs

    def entries(self, event: str) -> list[dict[str, Any]]:
        """Entries of the log of one kind."""
        return [entry for entry in self.log if entry.get("event") == event]


def read_recorded(run: RunDirectory) -> Recorded:
    """Read a run directory; files that are missing or damaged are named in the result.

    Raises:
        CheckpointError: The folder is not a run directory.
        RecipeError: The recipe is damaged.
    """
    recipe = run.recipe()
    missing: list[str] = []
    manifest: dict[str, Any] = {}
    log: list[dict[str, Any]] = []
    try:
        manifest = read_manifest(run.manifest_file)
    except CheckpointError as error:
        missing.append(f"Machine, licenses and versions are unknown: {error}")
    try:
        log = run.log.entries()
    except CheckpointError as error:
        missing.append(f"There are no training curves: {error}")
    result, checkpoint = _result(run, missing)
    results: dict[str, Results] = {}
    for split in SPLITS:
        if found := _scores(run, split):
            results[split] = found
    if result is None:
        results = _last_evaluation(log)
    states = None
    trained = max((entry["epoch"] for entry in log if entry.get("event") == "train"), default=0)
    if result is not None and checkpoint == "last" and (result.epoch or trained) < trained:
        missing.append(
            f"The scores are of epoch {result.epoch}, but {trained} epochs are trained: pictures "
            "and scores of classes are of the newest weights."
        )
    elif result is not None:
        states = _states(run, result, missing)
    return Recorded(run, recipe, manifest, log, result, results, checkpoint, states, tuple(missing))


def _result(run: RunDirectory, missing: list[str]) -> tuple[RunResult | None, CheckpointName]:
    if not run.metrics_file.is_file():
        return None, "last"
    try:
        result = read_run(run.path)
        content = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError) as error:
        missing.append(f"The scores cannot be read: {error}")
        return None, "last"
    return result, "best" if content.get("checkpoint") == "best" else "last"


def _scores(run: RunDirectory, split: Split) -> Results:
    """Scores of a split, wherever they are."""
    for file in (run.metrics_file, run.path / f"metrics_{split}.json"):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["split"] == split:
                return _numbers(content["metrics"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}


def _last_evaluation(log: list[dict[str, Any]]) -> dict[str, Results]:
    for entry in reversed(log):
        if entry.get("event") == "evaluate":
            return {str(entry["split"]): _numbers(entry["metrics"])}
    return {}


def _numbers(metrics: Mapping[str, Mapping[str, Any]]) -> Results:
    """Scores of each task; null, which stands for NaN, becomes NaN again."""
    return {
        task: {metric: math.nan if value is None else float(value) for metric, value in v.items()}
        for task, v in metrics.items()
    }


def _states(run: RunDirectory, result: RunResult, missing: list[str]) -> ImageStates | None:
    """Image states from which the scores of ``result`` follow."""
    try:
        states = read_image_states(run.path)
    except DataError as error:
        missing.append(f"The scores of single images are not recorded: {error}")
        return None
    for task in states.tasks:
        metric = result.primary.get(task, "")
        written = result.metrics.get(task, {}).get(metric, math.nan)
        total = states.total(task)
        if metric not in total or math.isnan(written):
            continue
        computed = float(torch.as_tensor(type(total[metric]).compute(total[metric])))
        if not math.isnan(computed) and not math.isclose(computed, written, rel_tol=1e-6):
            missing.append(
                f"The scores of single images belong to another evaluation ({task} {metric} "
                f"{computed:.6g}, not {written:.6g}). Write them again with `taskprism evaluate "
                f"{run.place}`."
            )
            return None
    return states
