"""Scores of the rows by seed, gains, and confidence intervals of gains."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskprism.analysis.information_flow import information_flow
from taskprism.errors import InputError, TaskprismError
from taskprism.metrics.gain import gain
from taskprism.papers.plan import Place, Plan
from taskprism.papers.results import Range
from taskprism.papers.table import Part, Readout
from taskprism.progress import Reporter
from taskprism.scoring.intervals import GainBootstrap
from taskprism.scoring.runs import RunResult, read_run
from taskprism.scoring.tables import Statistic
from taskprism.training.run_directory import RunLog

Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Scores:
    """Scores of one seed of a row.

    Attributes:
        seed: Seed of the run.
        metrics: Task -> metric -> value.
        run: The run that was scored.

    Example:
        >>> import inspect
        >>> list(inspect.signature(Scores).parameters)
        ['seed', 'metrics', 'run']
    """

    seed: int
    metrics: Metrics
    run: RunResult


def scores_of(plan: Plan, place: Place, row: str) -> list[Scores]:
    """Scores of a trained row's finished runs, by seed."""
    found = []
    for run in plan.runs_of(row):
        if place.is_done(run):
            result = read_run(place.run(run).path)
            found.append(Scores(run.seed, result.metrics, result))
    return found


def value(scores: Scores, task: str, metric: str) -> float:
    """One score; NaN if it is missing."""
    return scores.metrics.get(task, {}).get(metric, math.nan)


def gain_metrics(part: Part) -> dict[str, str]:
    """Task -> metric used for Δm: the first one printed for each task."""
    metrics: dict[str, str] = {}
    for column in part.columns:
        if column.task is not None and column.metric is not None:
            metrics.setdefault(column.task, column.metric)
    return metrics


def gains(
    metrics: Mapping[str, str],
    scores: Sequence[Scores],
    baseline: Sequence[Scores],
    notes: list[str],
) -> list[float]:
    """Δm of each seed in percent, against the baseline of the same seed.

    If the baseline lacks a seed, its mean over seeds is used. Tasks that are left out are named in
    ``notes``.
    """
    found = []
    for each in scores:
        results, references, better = {}, {}, {}
        for task, metric in metrics.items():
            score, reference = value(each, task, metric), _reference(baseline, each, task, metric)
            if math.isfinite(score) and math.isfinite(reference) and reference != 0:
                results[task], references[task] = score, reference
                better[task] = bool(each.run.higher_is_better[task][metric])
            elif math.isfinite(score) and reference == 0:
                _add(notes, f"Δm does not include {task}, because the baseline's {metric} is 0.")
            else:
                _add(
                    notes, f"Δm does not include {task}, because some runs have no {metric} for it."
                )
        if results:
            found.append(gain(results, references, better))
    return found


def run_seconds(folder: Path) -> float | None:
    """Duration of a run in seconds.

    It is read from the manifest. For an interrupted run, it is the sum over the epochs in the log.
    None if neither file has it.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["finished"] and not manifest["resumed"]:
            start, end = (
                datetime.datetime.fromisoformat(manifest[key]) for key in ("started", "finished")
            )
            return (end - start).total_seconds()
    except (OSError, ValueError, KeyError):
        return None
    seconds = [entry.get("seconds") for entry in RunLog(folder / "log.jsonl").entries()]
    known = [float(each) for each in seconds if each is not None]
    return sum(known) if known else None


def _reference(baseline: Sequence[Scores], scores: Scores, task: str, metric: str) -> float:
    same_seed = [each for each in baseline if each.seed == scores.seed]
    for group in (same_seed, baseline):
        statistic = Statistic.of([value(each, task, metric) for each in group])
        if statistic is not None:
            return statistic.mean
    return math.nan


def _add(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def readout_scores(
    source: Sequence[Scores], readout: Readout, reporter: Reporter, notes: list[str]
) -> list[Scores]:
    """Scores of the initial predictions at one scale, by seed (MTI-Net, Table 4).

    Args:
        source: Scores of the runs to evaluate.
        readout: The scale.
        reporter: Shows progress; evaluating a run for the first time takes a while.
        notes: If there is nothing to evaluate, the reason is added here.

    Raises:
        CheckpointError: The checkpoint of a run is missing.
    """
    found = []
    for each in source:
        try:
            flow = information_flow(each.run.path, reporter=reporter)
        except InputError as error:  # the model has no initial predictions
            notes.append(str(error))
            return []
        if readout.initial_stride not in flow:
            strides = ", ".join(str(place) for place in flow if isinstance(place, int))
            notes.append(
                f"This backbone has no initial predictions at stride {readout.initial_stride}, "
                f"only at {strides}."
            )
            return []
        found.append(Scores(each.seed, flow[readout.initial_stride], each.run))
    return found


class GainSpread:
    """Intervals of Δm for the rows of one part, see :mod:`taskprism.scoring.intervals`.

    Args:
        metrics: Task -> metric used for Δm.
        notes: The reason for the first missing interval is added here.

    Example:
        >>> spread = GainSpread({"semseg": "miou"}, notes=[])
    """

    def __init__(self, metrics: Mapping[str, str], notes: list[str]) -> None:
        self._metrics = metrics
        self._notes = notes
        self._failed = False
        self._bootstrap = GainBootstrap()

    def of(
        self, scores: Sequence[Scores], baseline: Sequence[Scores], factor: float
    ) -> Range | None:
        """Interval of a row's Δm; None if the runs lack the data to compute it.

        Args:
            scores: Scores of the row by seed.
            baseline: Scores of the baseline row.
            factor: Factor from Δm in percent to the printed number; negative for a drop.
        """
        runs, references = ([each.run for each in side] for side in (scores, baseline))
        if any(each.run.metrics is not each.metrics for each in (*scores, *baseline)):
            return None  # a readout: the image states of the run belong to its final predictions
        metrics = {
            task: metric
            for task, metric in self._metrics.items()
            if all(math.isfinite(value(each, task, metric)) for each in (*scores, *baseline))
        }
        try:
            found = self._bootstrap.gain(runs, references, metrics)
        except TaskprismError as error:
            if not self._failed:
                self._notes.append(f"Some rows have no interval of Δm: {error}")
            self._failed = True
            return None
        low, high = sorted((factor * found.low, factor * found.high))
        origin = "paired bootstrap over test images and seeds"
        if found.seeds == 1 or found.baseline_seeds == 1:
            origin = (
                "paired bootstrap over test images; with one seed, the interval does not include "
                "seed-to-seed variation"
            )
        return Range(low, high, origin)
