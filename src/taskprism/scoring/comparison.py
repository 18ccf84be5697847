"""The parts of a comparison: a number with its spread, columns, rows, the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskprism.scoring.interval import Interval


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation of some seeds' values; the latter needs two."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic | None:
        """Statistic of the values that are numbers, or None if none is."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return None
        mean = math.fsum(known) / len(known)
        if len(known) == 1:
            return cls(mean, None, 1)
        squares = math.fsum((value - mean) ** 2 for value in known)
        return cls(mean, math.sqrt(squares / (len(known) - 1)), len(known))


@dataclass(frozen=True)
class Column:
    """One metric of one task."""

    task: str
    metric: str
    higher_is_better: bool
    primary: bool


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        name: Name of its runs, without task and seed.
        model: Name of the system.
        backbone: Name of the backbone.
        seeds: In increasing order.
        values: ``(task, metric)`` -> mean and spread; what was never scored is absent.
        parameters: Of the network (single-task: of all networks together).
        macs: Likewise.
        gain: Δm in percent, or None without single-task runs to compare with.
        gain_interval: Where Δm lies, or None where the runs do not hold what tells it.
        task_gains: Task -> its part of Δm in percent.
        is_baseline: These are single-task runs.
    """

    name: str
    model: str
    backbone: str
    seeds: tuple[int, ...]
    values: Mapping[tuple[str, str], Statistic]
    parameters: int | None
    macs: int | None
    gain: Statistic | None = None
    gain_interval: Interval | None = None
    task_gains: Mapping[str, Statistic] = field(default_factory=dict)
    is_baseline: bool = False


@dataclass(frozen=True)
class Comparison:
    """A table: one row per method, one column per task and metric, and what a reader must know."""

    protocol: str
    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
