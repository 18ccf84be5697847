"""Compare runs: mean and standard deviation over seeds, and Δm relative to the single-task runs.

A *row* is one method: all runs with the same name and backbone, one per seed. Single-task networks
are trained one task at a time. Together they are one row, whose parameters and operations are the
sums over its networks.

Δm (MTI-Net, ECCV 2020, section 4.1) of a run is relative to the single-task networks with the same
protocol, backbone and seed, or to their mean over seeds if none has the same seed. If the runs have
image states, Δm has a confidence interval (:mod:`taskprism.scoring.intervals`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from taskprism.errors import InputError, TaskprismError
from taskprism.metrics.gain import gain, task_gains
from taskprism.scoring.runs import IMAGE_STATES_FILE, RunResult
from taskprism.scoring.tables import Column, Comparison, Row, Statistic

if TYPE_CHECKING:
    from taskprism.scoring.intervals import GainBootstrap


BASELINE_MODEL = "single_task"


def compare(runs: Sequence[RunResult]) -> Comparison:
    """Compare runs in one table.

    Args:
        runs: Runs of one protocol and split, in any order (see
            :func:`~taskprism.scoring.find_runs`).

    Returns:
        Single-task runs first, then the other methods in the given order.

    Raises:
        InputError: There are no runs, they have different protocols or splits, or two of them have
            the same method, seed and task.

    Example:
        >>> def run(name: str, model: str, rmse: float) -> RunResult:
        ...     return RunResult(
        ...         Path(name), name, model, "resnet18", "rooms", "test", 0, 20,
        ...         {"depth": {"rmse": rmse}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> single, shared = run("single", "single_task", 0.5), run("shared", "multi_task", 0.25)
        >>> [(row.name, row.gain and row.gain.mean) for row in compare([single, shared]).rows]
        [('single', None), ('shared', 50.0)]
    """
    if not runs:
        raise InputError("No runs to compare; give at least one run directory.")
    _check_comparable(runs)
    columns = _columns(runs)
    groups = _group(runs)
    baselines = {key: group for key, group in groups.items() if group[0].model == BASELINE_MODEL}
    notes = _data_notes(runs)
    intervals = GainIntervals()
    rows = []
    for key, group in sorted(groups.items(), key=lambda item: item[0] not in baselines):
        baseline, reason = _baseline_for(group[0], baselines)
        name = _row_name(key, groups)
        row = _row(name, group, columns, baseline, reason, notes)
        rows.append(intervals.added(row, group, baseline, notes))
    notes += intervals.remarks()
    single = [row.name for row in rows if len(row.seeds) == 1]
    if len(single) == len(rows):
        notes.append("Every method has one seed, so there is no standard deviation.")
    elif single:
        notes.append(f"One seed, so no standard deviation: {', '.join(single)}.")
    return Comparison(runs[0].protocol, runs[0].split, columns, tuple(rows), tuple(notes))


def _check_comparable(runs: Sequence[RunResult]) -> None:
    kinds: dict[str, Path] = {}
    for run in runs:
        size = "" if run.input_size is None else " at " + "x".join(map(str, run.input_size))
        kinds.setdefault(f"{run.protocol} on {run.split}{size}", run.path)
    if len(kinds) > 1:
        listed = "; ".join(f"{kind} (such as {path})" for kind, path in kinds.items())
        raise InputError(
            "Cannot compare scores of different protocols, splits or input sizes: "
            f"{listed}. Compare the runs of one protocol at a time."
        )


def _data_notes(runs: Sequence[RunResult]) -> list[str]:
    if len({run.data for run in runs if run.data is not None}) > 1:
        return [
            "The runs used different data (the fingerprints in their manifests differ), "
            "so differences may come from the data."
        ]
    return []


def _columns(runs: Sequence[RunResult]) -> tuple[Column, ...]:
    """Primary metric of each task first, then its others; tasks in order of appearance.

    Runs with several tasks determine the order, because single-task runs can be in any order.
    """
    columns: dict[tuple[str, str], Column] = {}
    for run in sorted(runs, key=lambda run: -len(run.metrics)):
        for task, metrics in run.metrics.items():
            primary = run.primary.get(task)
            for metric in sorted(metrics, key=lambda name: name != primary):
                better = bool(run.higher_is_better[task][metric])
                column = Column(task, metric, better, metric == primary)
                if columns.setdefault((task, metric), column) != column:
                    raise InputError(
                        f"{run.path} differs from the other runs in the direction or rank "
                        f"of {task} {metric}. Score it again with `taskprism evaluate {run.path}`."
                    )
    tasks = list(dict.fromkeys(task for task, _ in columns))
    return tuple(sorted(columns.values(), key=lambda column: tasks.index(column.task)))


GroupKey = tuple[str, str]  # name without task and seed, backbone


def _group(runs: Sequence[RunResult]) -> dict[GroupKey, list[RunResult]]:
    groups: dict[GroupKey, list[RunResult]] = {}
    for run in runs:
        group = groups.setdefault((method_name(run), run.backbone), [])
        for other in group:
            shared = sorted(set(run.metrics) & set(other.metrics))
            if other.seed == run.seed and shared:
                raise InputError(
                    f"{other.path} and {run.path} have the same method, seed ({run.seed}) and task "
                    f"({', '.join(shared)}). Remove one, or rename it in its recipe."
                )
            if other.model != run.model:
                raise InputError(
                    f"{other.path} ({other.model}) and {run.path} ({run.model}) have the same "
                    f"name ({run.name}) but are different models. Rename one in its recipe."
                )
            if run.model != BASELINE_MODEL and set(run.metrics) != set(other.metrics):
                raise InputError(
                    f"{other.path} and {run.path} have the same name ({run.name}) but predict "
                    "different tasks. Rename one in its recipe."
                )
        group.append(run)
    return groups


def method_name(run: RunResult) -> str:
    """Name of a run without its seed and, for a single-task run, without its task.

    Example:
        >>> def run(name: str, model: str, rmse: float) -> RunResult:
        ...     return RunResult(
        ...         Path(name), name, model, "resnet18", "rooms", "test", 0, 20,
        ...         {"depth": {"rmse": rmse}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> method_name(run("mti_net-seed0", "mti_net", 0.5))
        'mti_net'
        >>> method_name(run("single_task-depth", "single_task", 0.5))
        'single_task'
    """
    name = re.sub(rf"[-_ .]*(?:seed|s)[-_ .]?{run.seed}$", "", run.name)
    if run.model == BASELINE_MODEL and len(run.metrics) == 1:
        (task,) = run.metrics
        name = re.sub(rf"(?:^|[-_ .]+){re.escape(task)}(?=$|[-_ .])", "", name)
    return name.strip("-_ .") or run.model


Baselines = Mapping[GroupKey, Sequence[RunResult]]


def _baseline_for(run: RunResult, baselines: Baselines) -> tuple[Sequence[RunResult], str]:
    """Single-task runs to compare this one with, or the reason why there are none."""
    if not baselines:
        return [], f"none of the runs is a {BASELINE_MODEL} run"
    # A method without a backbone (a constant baseline) can be compared with any.
    fitting = [
        group
        for (_, backbone), group in baselines.items()
        if not run.backbone or not backbone or backbone == run.backbone
    ]
    if not fitting:
        return [], f"no {BASELINE_MODEL} run has the backbone {run.backbone}"
    if len(fitting) > 1:
        names = ", ".join(method_name(group[0]) for group in fitting)
        return [], f"there are several sets of {BASELINE_MODEL} runs ({names}); give one of them"
    return fitting[0], ""


def _row_name(key: GroupKey, groups: Iterable[GroupKey]) -> str:
    """Name of a method, with its backbone if the same method has several."""
    name, backbone = key
    alone = sum(name == other for other, _ in groups) == 1
    return name if alone else f"{name} ({backbone or 'no backbone'})"


def _row(
    name: str,
    group: Sequence[RunResult],
    columns: Sequence[Column],
    baseline: Sequence[RunResult],
    reason: str,
    notes: list[str],
) -> Row:
    seeds = tuple(sorted({run.seed for run in group}))
    values: dict[tuple[str, str], Statistic] = {}
    for column in columns:
        statistic = Statistic.of(_scores(group, column.task, column.metric))
        if statistic is not None:
            values[column.task, column.metric] = statistic
    is_baseline = group[0].model == BASELINE_MODEL
    row = Row(
        name=name,
        model=group[0].model,
        backbone=group[0].backbone,
        seeds=seeds,
        values=values,
        parameters=_total(group, "parameters"),
        macs=_total(group, "macs"),
        is_baseline=is_baseline,
    )
    if is_baseline:
        return row
    if not baseline:
        _add_note(notes, f"No Δm for {row.name}: {reason}.")
        return row
    return _with_gain(row, group, columns, baseline, notes)


def _with_gain(
    row: Row,
    group: Sequence[RunResult],
    columns: Sequence[Column],
    baseline: Sequence[RunResult],
    notes: list[str],
) -> Row:
    """The row with Δm: per run against the baseline of its seed, then mean and spread."""
    primary = [column for column in columns if column.primary]
    better = {column.task: column.higher_is_better for column in primary}
    totals: list[float] = []
    parts: dict[str, list[float]] = {}
    without: list[int] = []
    for run in group:
        pairs = paired_scores(run, baseline, {column.task: column.metric for column in primary})
        for column in primary:
            if column.task in run.metrics and column.task not in pairs:
                _add_note(
                    notes,
                    f"Δm of {row.name} excludes {column.task}: it has no nonzero "
                    f"{BASELINE_MODEL} score.",
                )
        if pairs and not any(other.seed == run.seed for other in baseline):
            without.append(run.seed)
        results = {task: score for task, (score, _) in pairs.items()}
        references = {task: reference for task, (_, reference) in pairs.items()}
        if pairs:
            totals.append(gain(results, references, better))
        for task, part in task_gains(results, references, better).items():
            parts.setdefault(task, []).append(part)
    if without:
        seeds = ", ".join(map(str, sorted(without)))
        _add_note(
            notes,
            f"There is no {BASELINE_MODEL} run with seed {seeds}, so Δm of such a run is relative "
            f"to the mean of the {BASELINE_MODEL} runs.",
        )
    left_out = [c.task for c in primary if c.task not in {t for run in group for t in run.metrics}]
    if left_out and totals:
        _add_note(notes, f"Δm of {row.name} covers its tasks only, not {', '.join(left_out)}.")
    statistics = {task: Statistic.of(values) for task, values in parts.items()}
    known = {task: statistic for task, statistic in statistics.items() if statistic is not None}
    return replace(row, gain=Statistic.of(totals), task_gains=known)


def paired_scores(
    run: RunResult, baseline: Sequence[RunResult], metrics: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Scores of a run and of its baseline, as Δm compares them.

    Args:
        run: A run of the method.
        baseline: Runs of the baseline; see :func:`baseline_score`.
        metrics: Task -> metric.

    Returns:
        Task -> score of the run, score of the baseline. Tasks in which one of them is missing, or
        the baseline's is 0, are left out.

    Example:
        >>> def run(name: str, model: str, rmse: float) -> RunResult:
        ...     return RunResult(
        ...         Path(name), name, model, "resnet18", "rooms", "test", 0, 20,
        ...         {"depth": {"rmse": rmse}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> single, shared = run("single", "single_task", 0.5), run("shared", "multi_task", 0.25)
        >>> paired_scores(shared, [single], {"depth": "rmse"})
        {'depth': (0.25, 0.5)}
    """
    pairs = {}
    for task, metric in metrics.items():
        score = run.metrics.get(task, {}).get(metric, math.nan)
        reference = baseline_score(baseline, run.seed, task, metric)
        if math.isfinite(score) and math.isfinite(reference) and reference != 0:
            pairs[task] = score, reference
    return pairs


def baseline_score(baseline: Sequence[RunResult], seed: int, task: str, metric: str) -> float:
    """Score of the baseline run with this seed, otherwise the mean over its seeds; NaN if missing.

    Example:
        >>> def run(name: str, model: str, rmse: float) -> RunResult:
        ...     return RunResult(
        ...         Path(name), name, model, "resnet18", "rooms", "test", 0, 20,
        ...         {"depth": {"rmse": rmse}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> baseline_score([run("single", "single_task", 0.5)], 7, "depth", "rmse")
        0.5
    """
    same_seed = [run for run in baseline if run.seed == seed]
    for runs in (same_seed, baseline):
        statistic = Statistic.of(_scores(runs, task, metric))
        if statistic is not None:
            return statistic.mean
    return math.nan


def _scores(runs: Sequence[RunResult], task: str, metric: str) -> list[float]:
    return [run.metrics[task][metric] for run in runs if metric in run.metrics.get(task, {})]


def _total(group: Sequence[RunResult], what: str) -> int | None:
    """Sum over the networks of one seed: one network, or one per task."""
    networks = {tuple(run.metrics): getattr(run, what) for run in group}
    if any(value is None for value in networks.values()):
        return None
    return sum(networks.values())


def _add_note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


class GainIntervals:
    """Adds intervals of Δm to rows. Reads each run once, and imports PyTorch only if needed.

    Example:
        >>> row = Row("mti_net", "mti_net", "resnet18", (0,), {}, None, None)
        >>> GainIntervals().added(row, [], [], notes=[]).gain_interval is None
        True
    """

    def __init__(self) -> None:
        self._bootstrap: GainBootstrap | None = None
        self._remarks: dict[str, list[str]] = {}  # remark -> names of rows

    def added(
        self,
        row: Row,
        group: Sequence[RunResult],
        baseline: Sequence[RunResult],
        notes: list[str],
    ) -> Row:
        """The row with an interval of its Δm.

        Args:
            row: One method.
            group: Its runs.
            baseline: The single-task runs that its Δm is relative to.
            notes: If there is no interval, the reason is added here, except for runs without image
                states.
        """
        runs = [*group, *baseline]
        if row.gain is None or not any((r.path / IMAGE_STATES_FILE).is_file() for r in runs):
            return row
        from taskprism.scoring.intervals import GainBootstrap

        self._bootstrap = self._bootstrap or GainBootstrap()
        try:
            interval = self._bootstrap.gain(group, baseline)
        except TaskprismError as error:
            notes.append(f"No interval of Δm for {row.name}: {error}")
            return row
        if interval.remark:
            self._remarks.setdefault(interval.remark, []).append(row.name)
        return replace(row, gain_interval=interval)

    def remarks(self) -> list[str]:
        """Remarks about variation that the intervals do not include, each once, with its rows."""
        return [
            f"Δm of {', '.join(names)}: {remark[0].lower()}{remark[1:]}"
            for remark, names in self._remarks.items()
        ]
