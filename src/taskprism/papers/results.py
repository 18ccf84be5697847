"""The result of a table: our numbers next to the paper's, and how their rows rank."""

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
    """Interval of a number.

    Attributes:
        low: Lower end, in the unit of the column.
        high: Upper end.
        origin: How it was obtained, such as ``"bootstrap over images and seeds"``.

    Example:
        >>> Range(1, 3, "bootstrap").overlaps(Range(2, 4, "bootstrap"))
        True
    """

    low: float
    high: float
    origin: str

    def overlaps(self, other: Range) -> bool:
        """Whether the two have a number in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Cell:
    """The paper's number and ours, both in the paper's unit.

    Attributes:
        paper: Printed number, or None.
        paper_std: Printed standard deviation, or None.
        ours: Mean and standard deviation over seeds; None if no run is finished.
        interval: Confidence interval of ``ours``, if one can be computed.
        misprint: Why the printed number contradicts others; empty if it does not.
        reference: The row is the baseline of this column.

    Example:
        >>> cell = Cell(paper=40.0, ours=Statistic.of([41.0, 43.0]))
        >>> cell.difference, cell.range.low < 42 < cell.range.high
        (2.0, True)
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
        """The interval, else mean ± standard deviation; None for one seed without interval."""
        if self.interval is not None or self.ours is None or self.ours.std is None:
            return self.interval
        mean, std = self.ours.mean, self.ours.std
        return Range(mean - std, mean + std, "mean ± standard deviation over seeds")


@dataclass(frozen=True)
class RowResult:
    """A row: the paper's numbers and ours.

    Attributes:
        key: Key of the row in its table.
        label: Label as printed.
        kind: How our numbers are obtained; ``impossible`` if the data does not allow it.
        cells: Column key -> numbers.
        model: Name of the model; empty if nothing is trained.
        backbone: Backbone of the model.
        seeds: Seeds with scores, in increasing order.
        parameters: Number of parameters of the network, trained or not.
        macs: Multiply-adds of the network.
        seconds: Duration of one run, including evaluations.
        runs: Directories of the row's runs by seed, finished or not.
        same_as: Rows that share the runs of this one under this request.
        notes: Remarks, one sentence each.

    Example:
        >>> row = RowResult("ours", "Ours", "trained", {"miou": Cell(paper=40.0)})
        >>> row.seeds
        ()
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
        name: Name of the part; empty if the table has one part.
        part: Columns and printed numbers.
        rows: Rows in the paper's order.
        higher_is_better: Column key -> whether higher is better; sizes have no entry.
        tasks: Tasks of the part's columns that were trained.

    Example:
        >>> from taskprism.papers import load_table
        >>> part = load_table("mti_net/2a").parts[""]
        >>> [column.key for column in PartResult("", part, (), {}).columns]
        ['semseg', 'depth', 'gain']
    """

    name: str
    part: Part
    rows: tuple[RowResult, ...]
    higher_is_better: Mapping[str, bool]
    tasks: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns in the paper's order."""
        return self.part.columns


@dataclass(frozen=True)
class TableResult:
    """A table with the results of all finished runs.

    Attributes:
        plan: The runs of the table.
        folder: Folder of all runs and tables.
        parts: Parts in the paper's order.
        protocols: Names of the protocols that runs were scored under.
        done: Number of finished runs.
        failed: Name of a run -> its error.
        notes: Remarks, one sentence each.

    Example:
        >>> from taskprism.papers import Place, Request, collect, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("single_task",))
        >>> plan = make_plan(load_table("mti_net/2a"), request)
        >>> result = collect(plan, Place(Path("reproduced")))
        >>> result.done, result.total
        (0, 1)
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


FEWEST_ROWS = 3  # fewer have no meaningful order


@dataclass(frozen=True)
class Ordering:
    """Rows ordered by one column, best first.

    Attributes:
        header: Heading of the column.
        paper: Labels and numbers in the paper's order.
        ours: Labels and numbers in our order.
        kendall: Rank correlation τ-b; NaN if all numbers of one side are equal.
        spearman: Rank correlation ρ.
        agreeing: Pairs of rows in the same order as in the paper.
        reversed: Pairs in the opposite order.
        agreeing_apart: Agreeing pairs whose ranges do not overlap.
        reversed_apart: Reversed pairs whose ranges do not overlap.
        same: Pairs with equal numbers on one side, mostly shared runs.
        ranged: Every row has an interval or a standard deviation.

    Example:
        >>> order = Ordering("mIoU", (("a", 2.0), ("b", 1.0)), (("a", 3.0), ("b", 2.0)),
        ...                  1.0, 1.0, 1, 0, 1, 0, 0, True)
        >>> order.chains(1)
        'By mIoU, best first. Paper: a (2.0) > b (1.0). Ours: a (3.0) > b (2.0).'
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
        return f"By {self.header}, best first. Paper: {paper}. Ours: {ours}."

    def findings(self) -> list[str]:
        """How similar the orders are, and whether ours is beyond the spread."""
        correlation = (
            "No rank correlation: all numbers of one side are equal."
            if math.isnan(self.kendall)
            else f"Rank correlation of the {len(self.paper)} rows: Kendall τ {self.kendall:+.2f}, "
            f"Spearman ρ {self.spearman:+.2f} (1: same order, -1: opposite order)."
        )
        equal = f", {self.same} are equal" * bool(self.same)
        counts = (
            f"{correlation} Of {self.pairs} pairs of rows, {self.agreeing} are in the paper's "
            f"order, {self.reversed} in the opposite order{equal}."
        )
        return [counts, self._verdict()]

    def _verdict(self) -> str:
        if not self.ranged:
            return (
                "Some rows have no spread, so these differences may be due to chance; train more "
                "seeds."
            )
        apart = self.agreeing_apart + self.reversed_apart
        separated = (
            f"{self.agreeing_apart} of the agreeing and {self.reversed_apart} of the reversed "
            "pairs have ranges that do not overlap"
        )
        if apart == 0:
            return f"The spread hides the order: {separated}, so no difference is certain."
        if apart < self.agreeing + self.reversed:
            return f"The spread hides part of the order: {separated}; the others are uncertain."
        return f"The spread does not hide the order: {separated}."


def orderings(part: PartResult) -> list[tuple[Column, Ordering]]:
    """Orders by Δm if the part has such a column, else by each of its metrics.

    Quoted rows, rows without both numbers, and columns with fewer than three remaining rows are
    left out.

    Example:
        >>> from taskprism.papers import load_table
        >>> orderings(PartResult("", load_table("mti_net/2a").parts[""], (), {}))
        []
    """
    gain = [column for column in part.columns if column.quantity in {"gain", "drop"}]
    chosen = gain or [column for column in part.columns if column.task is not None]
    found = ((column, ordering(part, column)) for column in chosen)
    return [(column, each) for column, each in found if each is not None]


def ordering(part: PartResult, column: Column) -> Ordering | None:
    """Order of a part's rows by one column; None if fewer than three have both numbers.

    Example:
        >>> from taskprism.papers import load_table
        >>> part = load_table("mti_net/2a").parts[""]
        >>> rows = tuple(
        ...     RowResult(name, name, "trained", {"depth": Cell(paper, ours=Statistic.of([ours]))})
        ...     for name, paper, ours in [("a", 0.67, 0.9), ("b", 0.64, 0.8), ("c", 0.53, 0.7)]
        ... )
        >>> order = ordering(PartResult("", part, rows, {"depth": False}), part.column("depth"))
        >>> order.kendall, order.agreeing
        (1.0, 3)
    """
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
    """Whether the ranges of two numbers do not overlap; a number without range is a point."""
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
