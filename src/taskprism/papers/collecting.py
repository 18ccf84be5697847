"""Collect the scores of finished runs into a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from taskprism.papers.plan import Place, Plan
from taskprism.papers.results import Cell, Kind, PartResult, Range, RowResult, TableResult
from taskprism.papers.runner import failures
from taskprism.papers.scores import (
    GainSpread,
    Scores,
    gain_metrics,
    gains,
    readout_scores,
    run_seconds,
    scores_of,
    value,
)
from taskprism.papers.settings import fit_columns
from taskprism.papers.sizes import Size, size_of
from taskprism.papers.table import Column, Part, Row
from taskprism.progress import Reporter
from taskprism.scoring.tables import Statistic
from taskprism.training.experiment import build_protocol


def collect(plan: Plan, place: Place, reporter: Reporter | None = None) -> TableResult:
    """The table with the scores of all finished runs.

    Args:
        plan: The runs of the table.
        place: Folder of the runs.
        reporter: Shows progress of slow steps: network sizes, evaluation, resampling.

    Raises:
        DataError: A file of a run is broken.
    """
    reporter = reporter or Reporter(quiet=True)
    notes: list[str] = list(plan.table.notes)
    parts = []
    for name, part in plan.parts.items():
        scored = _scored(plan, part)
        parts.append(_PartCollector(plan, place, scored, reporter, notes).collect(name))
    done = [run for run in plan.runs if place.is_done(run)]
    protocols = dict.fromkeys(
        score.run.protocol for row in plan.recipes for score in scores_of(plan, place, row)
    )
    return TableResult(
        plan=plan,
        folder=place.path,
        parts=tuple(parts),
        protocols=tuple(protocols),
        done=len(done),
        failed=failures(plan, place),
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
    scores: dict[str, list[Scores]] = field(default_factory=dict)
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
            if row.readout is not None and row.readout.of in self.scores:
                source = self.scores[row.readout.of]
                self.scores[key] = readout_scores(source, row.readout, self.reporter, self.notes)
        directions = self._directions()
        results = tuple(self._row(key, row) for key, row in rows.items())
        scored = {
            task for key in rows for each in self.scores.get(key, []) for task in each.metrics
        }
        tasks = tuple(
            dict.fromkeys(
                column.task for column in self.part.columns if column.task and column.task in scored
            )
        )
        return PartResult(name, self.part, results, directions, tasks)

    def _read_trained(self, key: str) -> None:
        scores = scores_of(self.plan, self.place, key)
        self.scores[key] = scores
        run = scores[0].run if scores else None
        if run is not None and run.parameters is not None and run.macs is not None:
            self.sizes[key] = Size(run.parameters, run.macs)
        else:
            self.sizes[key] = size_of(self.plan.recipes[key][0])
        seconds = (run_seconds(each.run.path) for each in scores)
        self.seconds[key] = [each for each in seconds if each is not None]

    def _directions(self) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for column in self.part.columns:
            if column.quantity is not None:
                found[column.key] = column.quantity == "gain"
                continue
            for scores in self.scores.values():
                for each in scores:
                    better = each.run.higher_is_better.get(column.task or "", {})
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
                seeds=tuple(each.seed for each in self.scores.get(key, [])),
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
            seeds=tuple(each.seed for each in self.scores[key]),
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
            values = [value(s, column.task, column.metric) for s in self.scores.get(key, [])]
            return [each for each in values if math.isfinite(each)]
        if column.quantity == "seconds":
            return self.seconds.get(key, [])
        size = self.sizes.get(key)
        return [] if size is None else [float(getattr(size, str(column.quantity)))]

    def _gain(
        self, key: str, column: Column, reference: str | None
    ) -> tuple[list[float], Range | None]:
        scores = self.scores.get(key, [])
        baseline = self.scores.get(reference, []) if reference else []
        if not scores or not baseline:
            return [], None
        sign = (-1 if column.quantity == "drop" else 1) * column.scale
        values = [
            sign * each for each in gains(gain_metrics(self.part), scores, baseline, self.notes)
        ]
        if key == reference:
            return values, None
        return values, self.spread.of(scores, baseline, sign)
