"""The parts of a result: a figure beside the paper's, rows, parts, the table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scipy import stats

from taskprism.papers.plan import Plan
from taskprism.papers.table import Column, Part
from taskprism.scoring.tables import Statistic

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


FEWEST_ROWS = 3  # of which an order says anything


@dataclass(frozen=True)
class Ordering:
    """Rows by one column, best first.

    Attributes:
        header: Of the column.
        paper: Labels with figures in the paper's order.
        ours: Likewise in ours.
        kendall: Rank correlation τ-b; NaN if all of one side are equal.
        spearman: Rank correlation ρ.
        agreeing: Pairs of rows that stand as in the paper.
        reversed: Pairs that stand the other way round.
        agreeing_apart: Of those, pairs whose ranges do not overlap.
        reversed_apart: Likewise.
        same: Pairs with equal figures on one side; same runs, mostly.
        ranged: Every row has an interval or a spread.
    """

    header: str
    paper: tuple[tuple[str, float], ...]
    ours: tuple[tuple[str, float], ...]
    kendall: float
    spearman: float
    agreeing: int
    reversed: int
    agreeing_apart: int
    reversed_apart: int
    same: int
    ranged: bool

    @property
    def pairs(self) -> int:
        """Number of pairs of rows."""
        return self.agreeing + self.reversed + self.same

    def chains(self, digits: int) -> str:
        """Both orders, best first, in a sentence."""
        paper, ours = (
            " > ".join(f"{label} ({value:.{digits}f})" for label, value in side)
            for side in (self.paper, self.ours)
        )
        return f"By {self.header}, best first. The paper: {paper}. Ours: {ours}."

    def findings(self) -> list[str]:
        """How alike the orders are, and how far ours can be trusted."""
        correlation = (
            "No rank correlation: all rows of one side are equal."
            if math.isnan(self.kendall)
            else f"Rank correlation of the {len(self.paper)} rows: Kendall τ {self.kendall:+.2f}, "
            f"Spearman ρ {self.spearman:+.2f} (1: the same order, -1: the opposite one)."
        )
        equal = f", {self.same} are equal" * bool(self.same)
        counts = (
            f"{correlation} Of {self.pairs} pairs of rows, {self.agreeing} stand as in the paper, "
            f"{self.reversed} the other way round{equal}."
        )
        return [counts, self._verdict()]

    def _verdict(self) -> str:
        if not self.ranged:
            return (
                "Some rows have no spread, so nothing is known about which of these differences "
                "would come out again; train more seeds."
            )
        apart = self.agreeing_apart + self.reversed_apart
        told = (
            f"{self.agreeing_apart} of the agreeing and {self.reversed_apart} of the reversed "
            "pairs lie further apart than their ranges"
        )
        if apart == 0:
            return f"The spread hides the order: {told}; not one difference is settled."
        if apart < self.agreeing + self.reversed:
            return f"The spread hides part of the order: {told}; the other differences are open."
        return f"The spread does not hide the order: {told}."


def orderings(part: PartResult) -> list[tuple[Column, Ordering]]:
    """Orders by Δm, where the part has such a column, else by each of its metrics.

    Quoted rows and rows without a figure on either side are left out; so are columns with fewer
    than three rows left.
    """
    gain = [column for column in part.columns if column.quantity in {"gain", "drop"}]
    chosen = gain or [column for column in part.columns if column.task is not None]
    found = ((column, ordering(part, column)) for column in chosen)
    return [(column, each) for column, each in found if each is not None]


def ordering(part: PartResult, column: Column) -> Ordering | None:
    """Order of a part's rows by one column, or None if fewer than three have both figures."""
    if column.key not in part.higher_is_better:
        return None
    sign = 1 if part.higher_is_better[column.key] else -1
    rows = [(row, row.cells[column.key]) for row in part.rows if row.kind != "quoted"]
    rows = [(row, cell) for row, cell in rows if cell.paper is not None and cell.ours is not None]
    if len(rows) < FEWEST_ROWS:
        return None
    paper = [sign * float(cell.paper or 0) for _, cell in rows]
    ours = [sign * cell.ours.mean for _, cell in rows if cell.ours is not None]
    agreeing, reversed_, same = 0, 0, 0
    apart = {True: 0, False: 0}
    for one, other in itertools.combinations(range(len(rows)), 2):
        product = (paper[one] - paper[other]) * (ours[one] - ours[other])
        if product == 0:
            same += 1
            continue
        agreeing, reversed_ = agreeing + (product > 0), reversed_ + (product < 0)
        apart[product > 0] += _apart(rows[one][1], rows[other][1])
    kendall, spearman = _correlations(paper, ours)
    return Ordering(
        header=column.header,
        paper=_sorted(rows, paper, sign),
        ours=_sorted(rows, ours, sign),
        kendall=kendall,
        spearman=spearman,
        agreeing=agreeing,
        reversed=reversed_,
        agreeing_apart=apart[True],
        reversed_apart=apart[False],
        same=same,
        # Δm of the baseline is 0 by definition and has no range.
        ranged=all(cell.range is not None or cell.reference for _, cell in rows),
    )


def _correlations(paper: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    if len(set(paper)) == 1 or len(set(ours)) == 1:
        return math.nan, math.nan
    kendall, spearman = stats.kendalltau(paper, ours), stats.spearmanr(paper, ours)
    return float(kendall.statistic), float(spearman.statistic)


def _apart(one: Cell, other: Cell) -> bool:
    """Whether two figures differ by more than their ranges; a figure without one is a point."""
    ends = []
    for cell in (one, other):
        mean = cell.ours.mean if cell.ours is not None else math.nan
        ends.append((cell.range.low, cell.range.high) if cell.range else (mean, mean))
    (low, high), (other_low, other_high) = ends
    return high < other_low or other_high < low


def _sorted(
    rows: Sequence[tuple[RowResult, Cell]], values: Sequence[float], sign: int
) -> tuple[tuple[str, float], ...]:
    pairs = zip((row.label for row, _ in rows), values, strict=True)
    return tuple((label, sign * value) for label, value in sorted(pairs, key=lambda pair: -pair[1]))
