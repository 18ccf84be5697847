"""The number that a search optimizes: a metric of a task, or Δm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from taskprism.data.protocol import Protocol, Split
from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics.gain import gain
from taskprism.recipes.schema import Recipe
from taskprism.scoring.compare import BASELINE_MODEL, baseline_score
from taskprism.scoring.runs import RunResult, find_runs
from taskprism.training.run_directory import RunDirectory, RunLog

#: Name of Δm as an objective.
GAIN = "gain"


@dataclass(frozen=True)
class Objective:
    """The number that is optimized.

    Attributes:
        name: ``TASK/METRIC``, or ``gain`` for Δm.
        split: Split of the scores: that which chooses the best epoch, never the test images where
            the protocol has validation images.
        higher_is_better: Whether higher is better.
        better: For Δm, task -> whether higher is better in its primary metric.
        primary: For Δm, task -> primary metric.
        baseline: For Δm, single-task runs with their scores on ``split``.

    Example:
        >>> objective = Objective("depth/rmse", "val", higher_is_better=False)
        >>> objective.value({"depth": {"rmse": 0.5}}, seed=0)
        0.5
    """

    name: str
    split: Split
    higher_is_better: bool
    better: Mapping[str, bool] = field(default_factory=dict)
    primary: Mapping[str, str] = field(default_factory=dict)
    baseline: Sequence[RunResult] = ()

    def value(self, metrics: Mapping[str, Mapping[str, float | None]], seed: int) -> float:
        """Value of an evaluation; NaN if a score is missing.

        Args:
            metrics: Task -> metric -> value.
            seed: Seed of the run; Δm is relative to the baseline of the same seed if there is one.
        """
        if self.name != GAIN:
            task, _, metric = self.name.partition("/")
            return _number(metrics.get(task, {}).get(metric))
        scores = {task: _number(metrics[task].get(self.primary[task])) for task in self.primary}
        references = {
            task: baseline_score(self.baseline, seed, task, metric)
            for task, metric in self.primary.items()
        }
        if not all(map(math.isfinite, [*scores.values(), *references.values()])):
            return math.nan
        return gain(scores, references, self.better)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def create_objective(
    name: str, recipe: Recipe, protocol: Protocol, baseline: Sequence[str | Path] = ()
) -> Objective:
    """Objective of a search.

    Args:
        name: ``TASK/METRIC``, or ``gain`` for Δm.
        recipe: A recipe of the search; its main tasks count.
        protocol: Its data.
        baseline: For Δm, single-task runs, or folders that contain some.

    Raises:
        UnknownNameError: There is no such task or metric.
        InputError: Δm has no baseline, or the baseline lacks scores.

    Example:
        >>> from taskprism.data import create_protocol
        >>> objective = create_objective("depth/rmse", Recipe(), create_protocol("rooms"))
        >>> objective.split, objective.higher_is_better
        ('val', False)
    """
    split: Split = "val" if "val" in protocol.splits else "test"
    names = recipe.tasks or [task.name for task in protocol.tasks]
    tasks = [protocol.task(task) for task in names if task not in recipe.auxiliary_tasks]
    if name != GAIN:
        directions = {
            f"{task.name}/{metric}": better
            for task in tasks
            for metric, better in task.higher_is_better.items()
        }
        if name not in directions:
            raise UnknownNameError("metric", name, [*directions, GAIN])
        return Objective(name, split, directions[name])
    if not baseline:
        raise InputError(
            "The metric 'gain' (Δm) is relative to single-task runs; name some with --baseline "
            "RUN [RUN ...]."
        )
    primary = {task.name: task.primary_metric for task in tasks}
    better = {task.name: task.higher_is_better[task.primary_metric] for task in tasks}
    runs = [_scored_on(run, split) for run in find_runs(baseline) if run.model == BASELINE_MODEL]
    for task, metric in primary.items():
        reference = baseline_score(runs, recipe.seed, task, metric)
        if not math.isfinite(reference) or reference == 0:
            raise InputError(
                f"No {BASELINE_MODEL} run in --baseline has a nonzero {task} {metric} on {split}. "
                "Δm needs one for every task."
            )
    return Objective(GAIN, split, True, better, primary, runs)


def _scored_on(run: RunResult, split: Split) -> RunResult:
    """The run with the scores of its last evaluation on a split."""
    found = list(evaluations(RunDirectory(run.path), split))
    metrics = found[-1][1] if found else {}
    known = {
        task: {name: _number(value) for name, value in values.items()}
        for task, values in metrics.items()
    }
    return replace(run, metrics=known)


def evaluations(directory: RunDirectory, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
    """Epoch and scores of the evaluations in a run's log, in order.

    Example:
        >>> list(evaluations(RunDirectory("nowhere"), "val"))
        []
    """
    log: RunLog = directory.log
    for entry in log.entries():
        if entry.get("event") == "evaluate" and entry.get("split") == split:
            yield int(entry["epoch"]), entry["metrics"]
