"""Performance against resources: figure 5 of ASTMT, table 7 of MTI-Net, table 5 of CTAL.

Performance is Δm in percent; ASTMT plots the drop, which is its negative. Resources are parameters
and multiply-adds of all networks that a method needs for all tasks, absolute and as a multiple of
the single-task networks' of the same backbone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics.gain import gain
from taskprism.scoring.tables import Comparison, Row, Statistic
from taskprism.visualization.plotting import LINES, MARKERS, plot_style, tidy


@dataclass(frozen=True)
class ResourcePoint:
    """One method.

    Attributes:
        name: Of the method.
        backbone: Of its networks.
        parameters: Of all its networks.
        macs: Multiply-adds of all its networks for one image.
        gain: Δm in percent; 0 for the single-task networks it is taken against.
        parameter_ratio: Parameters relative to those single-task networks, or None without any.
        mac_ratio: Likewise.
    """

    name: str
    backbone: str
    parameters: int
    macs: int
    gain: Statistic
    parameter_ratio: float | None
    mac_ratio: float | None


def resource_points(comparison: Comparison, baseline: str | None = None) -> list[ResourcePoint]:
    """Methods of a table as points.

    Args:
        comparison: From :func:`taskprism.scoring.compare`.
        baseline: Row that all Δm are taken against, whatever its backbone, as ASTMT measures all
            its variants against the single-task networks with the largest one. By default each row
            has the single-task networks of its own backbone.

    Returns:
        The rows that have a Δm, parameters and multiply-adds.

    Raises:
        InputError: There are no single-task runs to take Δm against.
        UnknownNameError: There is no row of the name ``baseline``.
    """
    rows = {row.name: row for row in comparison.rows}
    if baseline is not None and baseline not in rows:
        raise UnknownNameError("method", baseline, rows)
    points = []
    for row in comparison.rows:
        reference = rows[baseline] if baseline is not None else _own_baseline(row, comparison.rows)
        score = row.gain
        if baseline is not None:
            score = _gain(row, rows[baseline], comparison)
        elif row.is_baseline:
            score = Statistic(0.0, None, len(row.seeds))
        if score is None or row.parameters is None or row.macs is None:
            continue
        points.append(
            ResourcePoint(
                row.name,
                row.backbone,
                row.parameters,
                row.macs,
                score,
                _ratio(row.parameters, None if reference is None else reference.parameters),
                _ratio(row.macs, None if reference is None else reference.macs),
            )
        )
    if not any(not row.is_baseline and row.gain is not None for row in comparison.rows) and (
        baseline is None
    ):
        raise InputError(
            "Performance is Δm against single-task networks, and none of the runs has one to be "
            "compared with. Add single-task runs of the same backbone, or name the method to "
            f"compare with (--baseline): {', '.join(rows)}."
        )
    return points


def _own_baseline(row: Row, rows: Sequence[Row]) -> Row | None:
    fitting = [r for r in rows if r.is_baseline and r.backbone == row.backbone]
    return fitting[0] if len(fitting) == 1 else None


def _gain(row: Row, baseline: Row, comparison: Comparison) -> Statistic | None:
    """Δm of the means over seeds, over the tasks that both have."""
    primary = [column for column in comparison.columns if column.primary]
    both = [
        column
        for column in primary
        if (column.task, column.metric) in row.values
        and (column.task, column.metric) in baseline.values
    ]
    if not both:
        return None
    scores, references = (
        {column.task: each.values[column.task, column.metric].mean for column in both}
        for each in (row, baseline)
    )
    total = gain(scores, references, {column.task: column.higher_is_better for column in both})
    return Statistic(total, None, len(row.seeds)) if math.isfinite(total) else None


def _ratio(value: int, reference: int | None) -> float | None:
    return value / reference if reference else None


def plot_resources(points: Sequence[ResourcePoint], title: str = "") -> Figure:
    """Δm over parameters, and over multiply-adds; a color per backbone if there are several.

    Args:
        points: From :func:`resource_points`.
        title: Line above the plot.
    """
    names = list(dict.fromkeys(point.name.split(" (")[0] for point in points))
    backbones = list(dict.fromkeys(point.backbone for point in points if point.backbone))
    markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}
    with plot_style():
        figure = Figure(figsize=(8.6, 3.9), layout="constrained")
        seeds = max((point.gain.count for point in points), default=1)
        note = f"{title}; mean and standard deviation over {seeds} seeds" if seeds > 1 else title
        figure.suptitle(note, fontsize=9, x=0.01, ha="left")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, (what, unit, label) in zip(axes, _RESOURCES, strict=True):
            for point in points:
                name = point.name.split(" (")[0]
                color = (
                    LINES[backbones.index(point.backbone) % len(LINES)]
                    if len(backbones) > 1 and point.backbone
                    else LINES[names.index(name) % len(LINES)]
                )
                axis.errorbar(
                    getattr(point, what) / unit,
                    point.gain.mean,
                    point.gain.std or 0.0,
                    color=color,
                    marker=markers[name],
                    markersize=7,
                    capsize=2.5,
                    linestyle="none",
                    label=point.name,
                )
            _frame(axis, [getattr(point, what) / unit for point in points], label)
        axes[0].set_ylabel("Δm in percent ↑")
        handles, labels = axes[0].get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True))
        longest = max(map(len, known), default=1)
        figure.legend(
            list(known.values()),
            list(known),
            loc="outside lower left",
            ncols=min(max(120 // (longest + 6), 1), 4),
            frameon=False,
        )
    return figure


_RESOURCES = (("parameters", 1e6, "million parameters"), ("macs", 1e9, "billion multiply-adds"))


def _frame(axis: Axes, values: Sequence[float], label: str) -> None:
    if values and max(values) > 10 * min(values) > 0:
        axis.set_xscale("log")
    else:
        axis.set_xlim(0, 1.08 * max(values, default=1))
    axis.axhline(0, color="#68707a", linestyle="--", lw=0.9, zorder=0)
    axis.set_xlabel(label)
    tidy(axis)


def resource_table(
    points: Sequence[ResourcePoint], seconds: Mapping[str, float] | None = None
) -> str:
    """Markdown: parameters and multiply-adds with their multiple of single task, and Δm.

    Args:
        points: From :func:`resource_points`.
        seconds: Method -> seconds for one image, if measured.
    """
    seconds = seconds or {}
    head = ["method", "backbone", "parameters", "× single task", "multiply-adds", "× single task"]
    head += ["ms per image"] * bool(seconds) + ["Δm %"]
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join([":---", ":---", *["---:"] * (len(head) - 2)]) + "|")
    for point in points:
        spread = "" if point.gain.std is None else f" ± {point.gain.std:.2f}"
        cells = [
            point.name,
            point.backbone,
            f"{point.parameters / 1e6:.2f} M",
            "–" if point.parameter_ratio is None else f"{point.parameter_ratio:.2f}",
            f"{point.macs / 1e9:.2f} G",
            "–" if point.mac_ratio is None else f"{point.mac_ratio:.2f}",
        ]
        if seconds:
            cells.append(f"{1e3 * seconds[point.name]:.1f}" if point.name in seconds else "–")
        lines.append("| " + " | ".join([*cells, f"{point.gain.mean:+.2f}{spread}"]) + " |")
    return "\n".join([*lines, ""])
