"""Confidence intervals of Δm, by resampling the images and the seeds of finished runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from taskprism.errors import TaskprismError
from taskprism.papers.results import Range
from taskprism.papers.scores import Scores, value
from taskprism.scoring.bootstrap import GainBootstrap


class GainSpread:
    """Intervals of Δm for the rows of one part, see :mod:`taskprism.scoring.bootstrap`.

    Args:
        metrics: Task -> metric that Δm reads.
        notes: The reason for the first missing interval is added here.
    """

    def __init__(self, metrics: Mapping[str, str], notes: list[str]) -> None:
        self._metrics = metrics
        self._notes = notes
        self._failed = False
        self._bootstrap = GainBootstrap()

    def of(
        self, scores: Sequence[Scores], baseline: Sequence[Scores], factor: float
    ) -> Range | None:
        """Interval of a row's Δm, or None where the runs do not hold what it needs.

        Args:
            scores: Of the row, by seed.
            baseline: Of the row that it is compared with.
            factor: Printed figure / Δm in percent; negative for a drop.
        """
        runs, references = ([each.run for each in side] for side in (scores, baseline))
        if any(each.run.metrics is not each.metrics for each in (*scores, *baseline)):
            return None  # read out: the run's image states are those of its final predictions
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
            origin = "paired bootstrap over test images; one seed, so its spread is not in it"
        return Range(low, high, origin)
