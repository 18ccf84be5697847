"""The parts of a result: a figure beside the paper's, rows, parts, the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from taskprism.papers.plan import Plan
from taskprism.papers.table import Column, Part
from taskprism.scoring.comparison import Statistic

Kind = Literal["trained", "readout", "quoted", "impossible"]


@dataclass(frozen=True)
class Range:
    """Where a figure may well lie.

    Attributes:
        low: Lower end, as the column prints.
        high: Upper end.
        origin: What was varied, such as ``"bootstrap over images and seeds"``.
    """

    low: float
    high: float
    origin: str

    def overlaps(self, other: Range) -> bool:
        """Whether the two have a number in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Cell:
    """A figure, ours beside the paper's, both in the paper's unit.

    Attributes:
        paper: As printed; None where the paper prints none.
        paper_std: Printed beside it.
        ours: Mean and spread over seeds; None where there is none (yet).
        interval: Confidence interval of ``ours``, where one can be computed.
        misprint: Why the paper's figure contradicts its others; empty if it does not.
        reference: The row is the one that this column compares the others with.
    """

    paper: float | None = None
    paper_std: float | None = None
    ours: Statistic | None = None
    interval: Range | None = None
    misprint: str = ""
    reference: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.paper is None or self.ours is None:
            return None
        return self.ours.mean - self.paper

    @property
    def range(self) -> Range | None:
        """The interval, or else mean ± standard deviation; None with one seed and no interval."""
        if self.interval is not None or self.ours is None or self.ours.std is None:
            return self.interval
        mean, std = self.ours.mean, self.ours.std
        return Range(mean - std, mean + std, "mean ± standard deviation over seeds")


@dataclass(frozen=True)
class RowResult:
    """A row: the paper's figures and ours.

    Attributes:
        key: Of the row in its table.
        label: As printed.
        kind: How ours come about; ``impossible`` if the data at hand do not allow it.
        cells: Column key -> figure.
        model: Name of the system; empty where nothing is trained.
        backbone: Its backbone.
        seeds: Seeds with scores, in increasing order.
        parameters: Of the network that was or will be trained.
        macs: Likewise.
        seconds: Of training one run, with its evaluations.
        runs: Directories of its runs by seed, done or not.
        same_as: Rows that are the same runs under this request.
        notes: What a reader must know, one sentence each.
    """

    key: str
    label: str
    kind: Kind
    cells: Mapping[str, Cell]
    model: str = ""
    backbone: str = ""
    seeds: tuple[int, ...] = ()
    parameters: int | None = None
    macs: int | None = None
    seconds: Statistic | None = None
    runs: Mapping[int, Path] = field(default_factory=dict)
    same_as: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartResult:
    """Rows that are compared with one another.

    Attributes:
        name: Of the part; empty if the table has one.
        part: Its columns and the paper's figures.
        rows: In the paper's order.
        higher_is_better: Column key -> direction, where there is one.
        tasks: Tasks of the part's columns that were trained.
    """

    name: str
    part: Part
    rows: tuple[RowResult, ...]
    higher_is_better: Mapping[str, bool]
    tasks: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """In the paper's order."""
        return self.part.columns


@dataclass(frozen=True)
class TableResult:
    """A table as far as it is done.

    Attributes:
        plan: What was asked for.
        folder: That all runs are in.
        parts: In the paper's order.
        protocols: Names of the protocols that runs were scored under.
        done: Number of runs with scores.
        failed: Name of a run -> why it failed.
        notes: What a reader must know, one sentence each.
    """

    plan: Plan
    folder: Path
    parts: tuple[PartResult, ...]
    protocols: tuple[str, ...]
    done: int
    failed: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of runs."""
        return len(self.plan.runs)
