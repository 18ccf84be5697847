"""Intervals of Δm for the rows of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from taskprism.errors import TaskprismError
from taskprism.scoring.comparison import Row
from taskprism.scoring.runs import IMAGE_STATES_FILE, RunResult

if TYPE_CHECKING:
    from taskprism.scoring.bootstrap import GainBootstrap


class GainIntervals:
    """Adds intervals to rows, and reads each run once; PyTorch only if there is something to do."""

    def __init__(self) -> None:
        self._bootstrap: GainBootstrap | None = None

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
            baseline: The single-task runs that its Δm is taken against.
            notes: Takes what the interval does not tell, or why there is none. Runs that never
                kept the states of their images need no note.
        """
        runs = [*group, *baseline]
        if row.gain is None or not any((r.path / IMAGE_STATES_FILE).is_file() for r in runs):
            return row
        from taskprism.scoring.bootstrap import GainBootstrap

        self._bootstrap = self._bootstrap or GainBootstrap()
        try:
            interval = self._bootstrap.gain(group, baseline)
        except TaskprismError as error:
            notes.append(f"No interval of Δm for {row.name}: {error}")
            return row
        if interval.remark:
            notes.append(f"Δm of {row.name}: {interval.remark[0].lower()}{interval.remark[1:]}")
        return replace(row, gain_interval=interval)
