"""A comparison of runs as a table: in the terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from taskprism.errors import CheckpointError, InputError
from taskprism.text_table import TextTable

K = TypeVar("K")


@dataclass(frozen=True)
class Interval:
    """Confidence interval of Δm.

    Attributes:
        estimate: Δm in percent over all images, averaged over seeds.
        low: Lower end in percent.
        high: Upper end in percent.
        level: Share of such intervals that contain the true value.
        samples: Number of draws; draws in which a task has no labeled image are excluded.
        images: Number of test images.
        seeds: Number of seeds of the method.
        baseline_seeds: Number of seeds of the single-task networks; the smallest over tasks.
        seed_share: Share of the variance that comes from seeds, in [0, 1]; None for one seed.

    Example:
        >>> interval = Interval(2.0, 0.5, 3.5, 0.95, 1000, 654, 3, 3, 0.4)
        >>> print(interval)
        [+0.50, +3.50]
    """

    estimate: float
    low: float
    high: float
    level: float
    samples: int
    images: int
    seeds: int
    baseline_seeds: int
    seed_share: float | None

    def __str__(self) -> str:
        return f"[{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def remark(self) -> str:
        """Sentence about variation that the interval does not include; empty if there is none."""
        single = [
            name
            for name, seeds in [("method", self.seeds), ("baseline", self.baseline_seeds)]
            if seeds == 1
        ]
        if not single:
            return ""
        return (
            f"One seed of the {' and of the '.join(single)}: the interval does not include "
            "seed-to-seed variation."
        )


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation over seeds.

    Attributes:
        mean: Mean.
        std: Sample standard deviation; None for one seed.
        count: Number of seeds.

    Example:
        >>> Statistic.of([40.0, 42.0, float("nan")])
        Statistic(mean=41.0, std=1.4142135623730951, count=2)
    """

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic | None:
        """Statistic of the values that are not NaN, or None if all are."""
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
    """One metric of one task.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        higher_is_better: Whether higher is better.
        primary: Whether Δm uses this metric.

    Example:
        >>> arrow_title(Column("depth", "rmse", higher_is_better=False, primary=True))
        'depth rmse ↓'
    """

    task: str
    metric: str
    higher_is_better: bool
    primary: bool


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        name: Name of its runs, without task and seed.
        model: Name of the model.
        backbone: Name of the backbone.
        seeds: Seeds in increasing order.
        values: ``(task, metric)`` -> mean and standard deviation; metrics without a score are
            missing.
        parameters: Number of parameters; for single-task runs, the sum over all networks.
        macs: Multiply-adds for one image; likewise.
        gain: Δm in percent, or None without single-task runs.
        gain_interval: Confidence interval of Δm, or None without image states.
        task_gains: Task -> its part of Δm in percent.
        is_baseline: Whether these are single-task runs.

    Example:
        >>> row = Row("ours", "mti_net", "resnet18", (0,), {}, 4_020_000, None)
        >>> millions(row.parameters)
        '4.02'
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
    """A table with one row per method and one column per task and metric.

    Attributes:
        protocol: Protocol of all runs.
        split: Split on which they were scored.
        columns: Columns, grouped by task, with the primary metric first.
        rows: Single-task runs first.
        notes: Remarks, one sentence each.

    Example:
        >>> comparison = Comparison("rooms", "test", (), (), ("One run is missing.",))
        >>> print(text_table(comparison).title)
        protocol rooms, split test
    """

    protocol: str
    split: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


NOTHING = "–"  # in a cell without a value


def text_table(comparison: Comparison, all_metrics: bool = False) -> TextTable:
    """The comparison as text, with the best mean of each metric marked.

    Args:
        comparison: From :func:`taskprism.scoring.compare`.
        all_metrics: Show every metric of each task instead of the primary one only.

    Example:
        >>> row = Row("ours", "mti_net", "resnet18", (0,), {}, 4_020_000, None)
        >>> table = text_table(Comparison("rooms", "test", (), (row,), ()))
        >>> table.title, table.rows
        ('protocol rooms, split test', [['ours', '1', '4.02', '–', '–']])
    """
    shown = shown_columns(comparison, all_metrics)
    titles = ["method", "seeds", "params (M)", "MACs (G)", *map(arrow_title, shown), "Δm (%) ↑"]
    intervals = _intervals(comparison)
    titles += [f"Δm {intervals[0].level:.0%}"] if intervals else []
    best = {
        (row, place)
        for place, column in enumerate(shown, start=titles.index("MACs (G)") + 1)
        for row in _best_rows(comparison, column)
    }
    return TextTable(
        title=f"protocol {comparison.protocol}, split {comparison.split}",
        headings=titles,
        rows=[_cells(row, shown, with_interval=bool(intervals)) for row in comparison.rows],
        best=frozenset(best),
        notes=_notes(comparison),
    )


def shown_columns(comparison: Comparison, all_metrics: bool = False) -> list[Column]:
    """Columns in the table: the primary metric of each task, or every metric.

    Example:
        >>> columns = Column("depth", "rmse", False, True), Column("depth", "abs", False, False)
        >>> [each.metric for each in shown_columns(Comparison("rooms", "test", columns, (), ()))]
        ['rmse']
    """
    return [column for column in comparison.columns if all_metrics or column.primary]


def _cells(row: Row, columns: Sequence[Column], with_interval: bool) -> list[str]:
    values = [
        format_statistic(row.values.get((column.task, column.metric)), number) for column in columns
    ]
    change = "0 (reference)" if row.is_baseline else format_statistic(row.gain, "{:+.2f}".format)
    texts = [row.name, str(len(row.seeds)), millions(row.parameters), billions(row.macs)]
    texts += [*values, change]
    if with_interval:
        texts.append(NOTHING if row.gain_interval is None else str(row.gain_interval))
    return texts


def _best_rows(comparison: Comparison, column: Column) -> set[int]:
    """Indices of the rows with the best mean in a column."""
    means = {
        index: row.values[column.task, column.metric].mean
        for index, row in enumerate(comparison.rows)
        if (column.task, column.metric) in row.values
    }
    return best_keys(means, column.higher_is_better, number)


def best_keys(
    values: Mapping[K, float], higher_is_better: bool, printed: Callable[[float], Hashable]
) -> set[K]:
    """Keys of the best values, compared as printed; empty for fewer than two values.

    Example:
        >>> sorted(best_keys({"a": 0.301, "b": 0.299, "c": 0.2}, True, "{:.2f}".format))
        ['a', 'b']
    """
    if len(values) < 2:
        return set()
    best = printed((max if higher_is_better else min)(values.values()))
    return {key for key, value in values.items() if printed(value) == best}


def _notes(comparison: Comparison) -> list[str]:
    """Sentences that explain the table."""
    spread = any(len(row.seeds) > 1 for row in comparison.rows)
    lines = [
        "Mean ± sample standard deviation over seeds. " * spread
        + "↑ higher is better, ↓ lower is better; the best of each metric is bold."
    ]
    if any(row.gain is not None for row in comparison.rows):
        lines.append(
            "Δm: mean over tasks of the signed relative change of the primary metric to the "
            "single-task networks; positive is better."
        )
    if intervals := _intervals(comparison):
        lines.append(
            f"[low, high]: {intervals[0].level:.0%} interval of Δm, from a paired bootstrap over "
            f"{intervals[0].images} test images and the seeds."
        )
    if any(row.is_baseline for row in comparison.rows):
        lines.append("Parameters and operations of single-task rows are sums over their networks.")
    return [*lines, *comparison.notes]


def markdown(comparison: Comparison, all_metrics: bool = False) -> str:
    """The table and its notes as GitHub-flavored Markdown.

    Example:
        >>> row = Row("ours", "mti_net", "resnet18", (0,), {}, 4_020_000, None)
        >>> print(markdown(Comparison("rooms", "test", (), (row,), ())).splitlines()[2])
        | method | seeds | params (M) | MACs (G) | Δm (%) ↑ |
    """
    table = text_table(comparison, all_metrics)
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([f"**{table.title}**", "", table.markdown(), "", *notes, ""])


def to_csv(comparison: Comparison, all_metrics: bool = False) -> str:
    """CSV with one line per method, in full precision; standard deviations have separate columns.

    Example:
        >>> to_csv(Comparison("rooms", "test", (), (), ())).split(",")[:4]
        ['protocol', 'split', 'method', 'model']
    """
    shown = shown_columns(comparison, all_metrics)
    names = [f"{column.task} {column.metric}" for column in shown]
    pairs = [part for name in [*names, "gain_percent"] for part in (name, f"{name} std")]
    pairs += ["gain_percent low", "gain_percent high"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["protocol", "split", "method", "model", "backbone", "seeds", "parameters", "macs", *pairs]
    )
    for row in comparison.rows:
        statistics = [row.values.get((column.task, column.metric)) for column in shown]
        numbers = [
            value
            for one in [*statistics, row.gain]
            for value in (("", "") if one is None else (one.mean, one.std))
        ]
        interval = row.gain_interval
        ends = ("", "") if interval is None else (interval.low, interval.high)
        head = [comparison.protocol, comparison.split, row.name, row.model, row.backbone]
        seeds = " ".join(map(str, row.seeds))
        writer.writerow([*head, seeds, row.parameters, row.macs, *numbers, *ends])
    return text.getvalue()


def to_json(comparison: Comparison, all_metrics: bool = False) -> str:
    """JSON with all numbers in full precision, nested by task and metric.

    Example:
        >>> json.loads(to_json(Comparison("rooms", "test", (), (), ())))["split"]
        'test'
    """
    shown = shown_columns(comparison, all_metrics)
    rows = []
    for row in comparison.rows:
        metrics: dict[str, dict[str, object]] = {}
        for column in shown:
            statistic = row.values.get((column.task, column.metric))
            if statistic is not None:
                metrics.setdefault(column.task, {})[column.metric] = asdict(statistic)
        interval = row.gain_interval
        rows.append(
            {
                "method": row.name,
                "model": row.model,
                "backbone": row.backbone,
                "seeds": list(row.seeds),
                "parameters": row.parameters,
                "macs": row.macs,
                "metrics": metrics,
                "gain_percent": None if row.gain is None else asdict(row.gain),
                "gain_interval_percent": interval and asdict(interval),
                "task_gains_percent": {task: asdict(g) for task, g in row.task_gains.items()},
            }
        )
    content = {
        "protocol": comparison.protocol,
        "split": comparison.split,
        "columns": [asdict(column) for column in shown],
        "rows": rows,
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Comparison, bool], str]] = {
    ".md": markdown,
    ".csv": to_csv,
    ".json": to_json,
}


def check_format(path: Path) -> None:
    """Check that the suffix of a file is a table format.

    Raises:
        InputError: It is not; the message lists the formats.

    Example:
        >>> check_format(Path("table.md"))
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"Unknown table format {path.suffix!r} of {path}; use one of {', '.join(FORMATS)}."
        )


def write(comparison: Comparison, path: Path, all_metrics: bool = False) -> None:
    """Write the table in the format of the file's suffix: ``.md``, ``.csv`` or ``.json``.

    Raises:
        InputError: The suffix is not one of these.
        CheckpointError: The file cannot be written.

    Example:
        >>> write(Comparison("rooms", "test", (), (), ()), Path("table.csv"))  # doctest: +SKIP
    """
    check_format(path)
    text = FORMATS[path.suffix.lower()](comparison, all_metrics)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"Cannot write the table to {path}: {error}.") from error


def number(value: float) -> str:
    """Number for a table: four decimals below 10, otherwise two.

    Example:
        >>> number(0.5), number(12.345)
        ('0.5000', '12.35')
    """
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_statistic(statistic: Statistic | None, form: Callable[[float], str]) -> str:
    """Mean and standard deviation, each formatted by ``form``; only the mean for one seed.

    Example:
        >>> format_statistic(Statistic(0.5, 0.01, 3), number)
        '0.5000 ± 0.0100'
    """
    if statistic is None:
        return NOTHING
    if statistic.std is None:
        return form(statistic.mean)
    return f"{form(statistic.mean)} ± {form(statistic.std).lstrip('+')}"


def millions(count: int | None) -> str:
    """A number of parameters for a table, in millions.

    Example:
        >>> millions(4_020_000), millions(None)
        ('4.02', '–')
    """
    return NOTHING if count is None else f"{count / 1e6:.2f}"


def billions(count: int | None) -> str:
    """A number of multiply-adds for a table, in billions.

    Example:
        >>> billions(12_800_000_000)
        '12.80'
    """
    return NOTHING if count is None else f"{count / 1e9:.2f}"


def arrow(higher_is_better: bool) -> str:
    """Arrow for a heading.

    Example:
        >>> arrow(higher_is_better=False)
        '↓'
    """
    return "↑" if higher_is_better else "↓"


def arrow_title(column: Column) -> str:
    """Task and metric with an arrow that shows whether higher is better.

    Example:
        >>> arrow_title(Column("semseg", "miou", True, True))
        'semseg miou ↑'
    """
    return f"{column.task} {column.metric} {arrow(column.higher_is_better)}"


def _intervals(comparison: Comparison) -> list[Interval]:
    return [row.gain_interval for row in comparison.rows if row.gain_interval is not None]
