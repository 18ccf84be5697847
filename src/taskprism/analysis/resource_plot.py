"""Performance against resources: figure 5 of ASTMT, table 7 of MTI-Net, table 5 of CTAL.

Performance is Δm in percent; ASTMT plots the drop, which is its negative. Resources are parameters
and multiply-adds of all networks that a method needs for all tasks, absolute and as a multiple of
those of the single-task networks with the same backbone.
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
    """Performance and resources of one method.

    Attributes:
        name: Name of the method.
        backbone: Backbone of its networks.
        parameters: Number of parameters of all its networks.
        macs: Multiply-adds of all its networks for one image.
        gain: Δm in percent; 0 for the single-task networks it is relative to.
        parameter_ratio: Parameters divided by those of the single-task networks; None without any.
        mac_ratio: Multiply-adds divided by those of the single-task networks; None without any.

    Example:
        >>> gain = Statistic(1.5, None, 1)
        >>> ResourcePoint("mti_net", "hrnet", 20_000_000, 10_000_000_000, gain, 0.5, 0.6).mac_ratio
        0.6
    """

    name: str
    backbone: str
    parameters: int
    macs: int
    gain: Statistic
    parameter_ratio: float | None
    mac_ratio: float | None


def resource_points(comparison: Comparison, baseline: str | None = None) -> list[ResourcePoint]:
    """Convert the methods of a table to points.

    Args:
        comparison: Result of :func:`taskprism.scoring.compare`.
        baseline: Row that all Δm are relative to, with any backbone: ASTMT compares all its
            variants with the single-task networks of the largest backbone. By default each row is
            compared with the single-task networks of the same backbone.

    Returns:
        The rows with a Δm, parameters and multiply-adds.

    Raises:
        InputError: There are no single-task runs to compare with.
        UnknownNameError: There is no row with the name ``baseline``.

    Example:
        >>> from taskprism.scoring import compare
        >>> points = resource_points(compare(["runs"]))  # doctest: +SKIP
    """
    rows = {row.name: row for row in comparison.rows}
    if baseline is not None and baseline not in rows:
        raise UnknownNameError("method", baseline, rows)
    points = []
    for row in comparison.rows:
        reference = rows[baseline] if baseline is not None else _baseline_of(row, comparison.rows)
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
            "Performance is Δm relative to single-task networks, but there are no single-task runs "
            "with the backbone of a method. Add them, or name the method to compare with "
            f"(--baseline): {', '.join(rows)}."
        )
    return points


def _baseline_of(row: Row, rows: Sequence[Row]) -> Row | None:
    fitting = [r for r in rows if r.is_baseline and r.backbone == row.backbone]
    return fitting[0] if len(fitting) == 1 else None


def _gain(row: Row, baseline: Row, comparison: Comparison) -> Statistic | None:
    """Δm of the means over seeds, for the tasks that both rows have."""
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
    """Plot Δm over parameters and over multiply-adds; one color per backbone if there are several.

    Args:
        points: Result of :func:`resource_points`.
        title: Line above the plot.

    Example:
        >>> gain = Statistic(1.5, None, 1)
        >>> point = ResourcePoint("mti_net", "hrnet", 20_000_000, 10_000_000_000, gain, 0.5, 0.6)
        >>> len(plot_resources([point]).axes)
        2
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
    """Markdown table of parameters, multiply-adds, their ratios to single task, and Δm.

    Args:
        points: Result of :func:`resource_points`.
        seconds: Method -> seconds for one image, if measured.

    Example:
        >>> gain = Statistic(1.5, None, 1)
        >>> point = ResourcePoint("mti_net", "hrnet", 20_000_000, 10_000_000_000, gain, 0.5, 0.6)
        >>> resource_table([point]).splitlines()[-1]
        '| mti_net | hrnet | 20.00 M | 0.50 | 10.00 G | 0.60 | +1.50 |'
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
