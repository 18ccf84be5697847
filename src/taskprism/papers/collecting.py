"""Collect the scores of finished runs into a table."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskprism.analysis.information_flow import information_flow
from taskprism.errors import InputError, TaskprismError
from taskprism.metrics.gain import gain
from taskprism.papers.plan import Place, Plan
from taskprism.papers.results import Cell, Kind, PartResult, Range, RowResult, TableResult
from taskprism.papers.settings import fit_columns
from taskprism.papers.sizes import Size, size_of
from taskprism.papers.table import Column, Part, Readout, Row
from taskprism.progress import Reporter
from taskprism.scoring.compare import baseline_score, paired_scores
from taskprism.scoring.intervals import GainBootstrap
from taskprism.scoring.runs import RunResult, read_run
from taskprism.scoring.tables import Statistic
from taskprism.training.experiment import build_protocol
from taskprism.training.run_directory import RunLog


def collect(plan: Plan, place: Place, reporter: Reporter | None = None) -> TableResult:
    """The table with the scores of all finished runs.

    Args:
        plan: The runs of the table.
        place: Folder of the runs.
        reporter: Shows progress of slow steps: network sizes, evaluation, resampling.

    Raises:
        DataError: A file of a run is broken.

    Example:
        >>> from taskprism.papers import Request, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> plan = make_plan(load_table("mti_net/2a"), request)
        >>> result = collect(plan, Place(Path("reproduced")))
        >>> [row.label for row in result.parts[0].rows]
        ['Single task', 'MTL']
    """
    reporter = reporter or Reporter(quiet=True)
    notes: list[str] = list(plan.table.notes)
    parts = []
    for name, part in plan.parts.items():
        scored = _scored(plan, part)
        parts.append(_PartCollector(plan, place, scored, reporter, notes).collect(name))
    done = [run for run in plan.runs if place.is_done(run)]
    protocols = dict.fromkeys(
        run.protocol for row in plan.recipes for run in finished_runs(plan, place, row)
    )
    return TableResult(
        plan=plan,
        folder=place.path,
        parts=tuple(parts),
        protocols=tuple(protocols),
        done=len(done),
        failed=place.failures(plan.runs),
        notes=tuple(notes),
    )


def _scored(plan: Plan, part: Part) -> Part:
    """The part with metrics that the tasks of the requested protocol compute."""
    recipes = [plan.recipes[row][0] for row in part.rows if row in plan.recipes]
    if plan.request.protocol is None or not recipes:
        return part
    return fit_columns(part, build_protocol(recipes[0].data).tasks)


@dataclass
class _PartCollector:
    plan: Plan
    place: Place
    part: Part
    reporter: Reporter
    notes: list[str]
    runs: dict[str, list[RunResult]] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spread = GainSpread(gain_metrics(self.part), self.notes)

    def collect(self, name: str) -> PartResult:
        rows = self.part.rows
        for key in self.reporter.track(list(rows), f"reading {self.plan.table.name}"):
            if key in self.plan.recipes:
                self._read_trained(key)
        for key, row in rows.items():
            if row.readout is not None and row.readout.of in self.runs:
                runs = self.runs[row.readout.of]
                self.runs[key] = read_out(runs, row.readout, self.reporter, self.notes)
        directions = self._directions()
        results = tuple(self._row(key, row) for key, row in rows.items())
        scored = {task for key in rows for run in self.runs.get(key, []) for task in run.metrics}
        tasks = tuple(
            dict.fromkeys(
                column.task for column in self.part.columns if column.task and column.task in scored
            )
        )
        return PartResult(name, self.part, results, directions, tasks)

    def _read_trained(self, key: str) -> None:
        runs = finished_runs(self.plan, self.place, key)
        self.runs[key] = runs
        first = runs[0] if runs else None
        if first is not None and first.parameters is not None and first.macs is not None:
            self.sizes[key] = Size(first.parameters, first.macs)
        else:
            self.sizes[key] = size_of(self.plan.recipes[key][0])
        seconds = (run_seconds(run.path) for run in runs)
        self.seconds[key] = [each for each in seconds if each is not None]

    def _directions(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for column in self.part.columns:
            if column.quantity is not None:
                found[column.key] = column.quantity == "gain"
                continue
            for runs in self.runs.values():
                for run in runs:
                    better = run.higher_is_better.get(column.task or "", {})
                    if column.metric in better:
                        found[column.key] = bool(better[column.metric])
        return found

    def _row(self, key: str, row: Row) -> RowResult:
        notes = list(row.notes)
        cells = {column.key: self._cell(key, row, column) for column in self.part.columns}
        recipes = self.plan.recipes.get(key)
        if recipes is None:
            kind, reason = self._why_not(key, row)
            return RowResult(
                key,
                row.label,
                kind,
                cells,
                seeds=tuple(run.seed for run in self.runs.get(key, [])),
                notes=(*notes, *([reason] if reason else [])),
            )
        runs = self.plan.runs_of(key)
        size, model = self.sizes[key], recipes[0].model
        return RowResult(
            key=key,
            label=row.label,
            kind="trained",
            cells=cells,
            model=model.name,
            backbone=model.backbone,
            seeds=tuple(run.seed for run in self.runs[key]),
            parameters=size.parameters,
            macs=size.macs,
            seconds=Statistic.of(self.seconds[key]),
            runs={run.seed: self.place.run(run).path for run in runs},
            same_as=tuple(other for other in runs[0].rows if other != key),
            notes=tuple(notes),
        )

    def _why_not(self, key: str, row: Row) -> tuple[Kind, str]:
        if row.quoted is not None:
            return "quoted", f"not trained here: {row.quoted}."
        if row.readout is not None:
            return "readout", f"evaluated from the runs of {self.part.rows[row.readout.of].label}."
        return "impossible", self.plan.impossible.get(key, "")

    def _cell(self, key: str, row: Row, column: Column) -> Cell:
        reference = self.part.baseline_of(key, column)
        values, interval = self._values(key, column, reference)
        return Cell(
            paper=row.paper.get(column.key),
            paper_std=row.paper_std.get(column.key),
            ours=Statistic.of(values),
            interval=interval,
            misprint=row.misprints.get(column.key, ""),
            reference=column.relative and key == reference,
        )

    def _values(
        self, key: str, column: Column, reference: str | None
    ) -> tuple[list[float], Range | None]:
        """Our numbers of a cell, one per seed, in the unit of the column."""
        if column.quantity in {"gain", "drop"}:
            return self._gain(key, column, reference)
        values = self._plain(key, column)
        if column.form != "absolute":
            base = Statistic.of(self._plain(reference, column)) if reference else None
            if base is None or base.mean == 0:
                return [], None
            values = [each / base.mean for each in values]
            if column.form == "percent":
                values = [100 * (each - 1) for each in values]
        return [each * column.scale for each in values], None

    def _plain(self, key: str, column: Column) -> list[float]:
        if column.task is not None and column.metric is not None:
            values = [_score(run, column.task, column.metric) for run in self.runs.get(key, [])]
            return [each for each in values if math.isfinite(each)]
        if column.quantity == "seconds":
            return self.seconds.get(key, [])
        size = self.sizes.get(key)
        return [] if size is None else [float(getattr(size, str(column.quantity)))]

    def _gain(
        self, key: str, column: Column, reference: str | None
    ) -> tuple[list[float], Range | None]:
        runs = self.runs.get(key, [])
        baseline = self.runs.get(reference, []) if reference else []
        if reference is None or not runs or not baseline:
            return [], None
        sign = (-1 if column.quantity == "drop" else 1) * column.scale
        gained = gains(gain_metrics(self.part), runs, baseline, self.notes)
        values = [sign * each for each in gained]
        if key == reference or self._is_readout(key) or self._is_readout(reference):
            # The image states of a run belong to its final predictions, not to a readout.
            return values, None
        return values, self.spread.of(runs, baseline, sign)

    def _is_readout(self, key: str) -> bool:
        return self.part.rows[key].readout is not None


def finished_runs(plan: Plan, place: Place, row: str) -> list[RunResult]:
    """Results of a trained row's finished runs, by seed.

    Example:
        >>> from taskprism.papers import Request, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> plan = make_plan(load_table("mti_net/2a"), request)
        >>> finished_runs(plan, Place(Path("reproduced")), "multi_task")
        []
    """
    return [read_run(place.run(run).path) for run in plan.runs_of(row) if place.is_done(run)]


def read_out(
    runs: Sequence[RunResult], readout: Readout, reporter: Reporter, notes: list[str]
) -> list[RunResult]:
    """Runs with the scores of their initial predictions at one scale (MTI-Net, Table 4).

    Args:
        runs: The runs to evaluate.
        readout: The scale.
        reporter: Shows progress; evaluating a run for the first time takes a while.
        notes: If there is nothing to evaluate, the reason is added here.

    Raises:
        CheckpointError: The checkpoint of a run is missing.

    Example:
        >>> read_out([], Readout(of="mti_net", initial_stride=32), Reporter(quiet=True), notes=[])
        []
    """
    found = []
    for run in runs:
        try:
            flow = information_flow(run.path, reporter=reporter)
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
        found.append(replace(run, metrics=flow[readout.initial_stride]))
    return found


def run_seconds(folder: Path) -> float | None:
    """Duration of a run in seconds.

    It is read from the manifest. For an interrupted run, it is the sum over the epochs in the log.
    None if neither file has it.

    Example:
        >>> print(run_seconds(Path("not_trained_yet")))
        None
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


def gain_metrics(part: Part) -> dict[str, str]:
    """Task -> metric used for Δm: the first one printed for each task.

    Example:
        >>> from taskprism.papers import load_table
        >>> gain_metrics(load_table("mti_net/2a").parts[""])
        {'semseg': 'miou', 'depth': 'rmse'}
    """
    metrics: dict[str, str] = {}
    for column in part.columns:
        if column.task is not None and column.metric is not None:
            metrics.setdefault(column.task, column.metric)
    return metrics


def gains(
    metrics: Mapping[str, str],
    runs: Sequence[RunResult],
    baseline: Sequence[RunResult],
    notes: list[str],
) -> list[float]:
    """Δm of each run in percent, against the baseline of the same seed.

    If the baseline lacks a seed, its mean over seeds is used. Tasks that are left out are named in
    ``notes``.

    Example:
        >>> def run(rmse: float) -> RunResult:
        ...     return RunResult(
        ...         Path("a"), "a", "mti_net", "resnet18", "rooms", "test", 0, 20,
        ...         {"depth": {"rmse": rmse}}, {"depth": {"rmse": False}}, {"depth": "rmse"})
        >>> gains({"depth": "rmse"}, [run(0.25)], [run(0.5)], notes=[])
        [50.0]
    """
    found = []
    for run in runs:
        pairs = paired_scores(run, baseline, metrics)
        for task, metric in metrics.items():
            if task in pairs:
                continue
            scored = math.isfinite(_score(run, task, metric))
            if scored and baseline_score(baseline, run.seed, task, metric) == 0:
                reason = f"the baseline's {metric} is 0"
            else:
                reason = f"some runs have no {metric} for it"
            note = f"Δm does not include {task}, because {reason}."
            if note not in notes:
                notes.append(note)
        if pairs:
            results = {task: score for task, (score, _) in pairs.items()}
            references = {task: reference for task, (_, reference) in pairs.items()}
            better = {task: bool(run.higher_is_better[task][metrics[task]]) for task in pairs}
            found.append(gain(results, references, better))
    return found


def _score(run: RunResult, task: str, metric: str) -> float:
    """One score; NaN if it is missing."""
    return run.metrics.get(task, {}).get(metric, math.nan)


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
        self, runs: Sequence[RunResult], baseline: Sequence[RunResult], factor: float
    ) -> Range | None:
        """Interval of a row's Δm; None if the runs lack the data to compute it.

        Args:
            runs: Runs of the row.
            baseline: Runs of the baseline row.
            factor: Factor from Δm in percent to the printed number; negative for a drop.
        """
        metrics = {
            task: metric
            for task, metric in self._metrics.items()
            if all(math.isfinite(_score(run, task, metric)) for run in (*runs, *baseline))
        }
        try:
            found = self._bootstrap.gain(runs, baseline, metrics)
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
