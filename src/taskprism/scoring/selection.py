"""Select the best evaluation of a run, over tasks with different units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from taskprism.scoring.evaluation import Results
from taskprism.tasks.base import Task


class Selection:
    """Finds the best evaluation by comparing each one with the first.

    The score of an evaluation is the mean over the main tasks of the signed relative difference
    of their primary metric to the first evaluation::

        (value - first) / mean(|value|, |first|)        sign by ``higher_is_better``

    It is in [-2, 2], 0 for the first evaluation, and finite even if the first value is 0. A metric
    that is NaN scores -2.

    Args:
        tasks: Main tasks.

    Example:
        >>> from taskprism.tasks import create_task
        >>> selection = Selection([create_task("depth")])
        >>> [selection.improves({"depth": {"rmse": rmse}}, i) for i, rmse in enumerate([3, 2, 4])]
        [True, True, False]
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._primary = {task.name: task.primary_metric for task in tasks}
        self._sign = {task.name: 1.0 if task.primary_higher_is_better else -1.0 for task in tasks}
        self._first: dict[str, float] = {}
        self._best = -math.inf
        self._epoch = 0

    def improves(self, results: Results, epoch: int) -> bool:
        """Whether this evaluation, after ``epoch`` epochs, is better than all previous ones."""
        values = {name: results[name][metric] for name, metric in self._primary.items()}
        if not self._first:
            self._first = values
        score = self._score(values)
        if score <= self._best:
            return False
        self._best, self._epoch = score, epoch
        return True

    def _score(self, values: Mapping[str, float]) -> float:
        differences = [
            _relative(value, self._first[name], self._sign[name]) for name, value in values.items()
        ]
        return math.fsum(differences) / len(differences)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"first": dict(self._first), "best": self._best, "epoch": self._epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` returned."""
        self._first = dict(state["first"])
        self._best = float(state["best"])
        self._epoch = int(state["epoch"])


def _relative(value: float, first: float, sign: float) -> float:
    if math.isnan(value):
        return -2.0
    if math.isnan(first):
        return 2.0
    size = (abs(value) + abs(first)) / 2
    return sign * (value - first) / size if size > 0 else 0.0
