"""The plot of table 4 of MTI-Net: scores from the coarsest scale to the final output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.analysis.information_flow import FINAL, Flow
from taskprism.metrics.gain import gain
from taskprism.scoring.tables import Statistic
from taskprism.visualization.plotting import LINES, plot_style, tidy


def places(flows: Sequence[Flow]) -> list[int | str]:
    """All places of some runs, coarsest first and the final output last."""
    strides = {place for flow in flows for place in flow if isinstance(place, int)}
    return [*sorted(strides, reverse=True), FINAL]


def place_name(place: int | str) -> str:
    """``1/32``, or ``final``."""
    return place if isinstance(place, str) else f"1/{place}"


def flow_statistic(
    flows: Sequence[Flow], place: int | str, task: str, metric: str
) -> Statistic | None:
    """Mean and spread of a metric over runs."""
    return Statistic.of([flow.get(place, {}).get(task, {}).get(metric, math.nan) for flow in flows])


def flow_gain(
    flows: Sequence[Flow],
    place: int | str,
    baselines: Sequence[Mapping[str, float]],
    primary: Mapping[str, str],
    higher_is_better: Mapping[str, bool],
) -> Statistic | None:
    """Δm in percent at a place, of each run against its single-task scores.

    Args:
        flows: Of runs; one that misses a task at this place is left out.
        place: Stride or ``"final"``.
        baselines: Of each run, task -> score of the single-task network.
        primary: Task -> metric.
        higher_is_better: Task -> direction.
    """
    totals = []
    for flow, baseline in zip(flows, baselines, strict=True):
        scores = {t: flow.get(place, {}).get(t, {}).get(m, math.nan) for t, m in primary.items()}
        if baseline and all(math.isfinite(scores[task]) for task in baseline):
            chosen = {task: scores[task] for task in baseline}
            totals.append(gain(chosen, baseline, {t: higher_is_better[t] for t in baseline}))
    return Statistic.of(totals)


def mean_baseline(baselines: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Task -> mean of its scores."""
    tasks = dict.fromkeys(task for baseline in baselines for task in baseline)
    known = {task: Statistic.of([b[task] for b in baselines if task in b]) for task in tasks}
    return {task: statistic.mean for task, statistic in known.items() if statistic is not None}


def plot_flow(
    flows: Sequence[Flow],
    primary: Mapping[str, str],
    higher_is_better: Mapping[str, bool],
    baselines: Sequence[Mapping[str, float]] = (),
    title: str = "",
) -> Figure:
    """Small multiples: a task each, and Δm if there is a baseline; places from coarse to final.

    Args:
        flows: Of runs that differ in their seed; a line is their mean, a bar their spread.
        primary: Task -> metric to draw; also the order of the panels.
        higher_is_better: Task -> direction.
        baselines: Of each run, task -> score of its single-task network; their mean is drawn as a
            dashed line.
        title: Line above the plot.
    """
    baseline = mean_baseline(baselines)
    along = places(flows)
    count = len(primary) + bool(baseline)
    with plot_style():
        figure = Figure(figsize=(max(2.5 * count, 5), 3.0), layout="constrained")
        notes = [f"mean and standard deviation of {len(flows)} seeds"] * (len(flows) > 1)
        notes += ["dashed: single task"] * bool(baseline)
        lines = [title, "; ".join(notes)]
        figure.suptitle("\n".join(filter(None, lines)), fontsize=9, x=0.01, ha="left")
        axes = figure.subplots(1, count, squeeze=False)[0]
        for axis, (task, metric) in zip(axes, primary.items(), strict=False):
            _line(axis, along, [flow_statistic(flows, place, task, metric) for place in along])
            if task in baseline:
                axis.axhline(baseline[task], color=LINES[1], linestyle="--", lw=1.1)
            arrow = "↑" if higher_is_better[task] else "↓"
            axis.set_title(f"{task}\n{metric} {arrow}", loc="left", fontsize=9)
        if baseline:
            gains = [flow_gain(flows, p, baselines, primary, higher_is_better) for p in along]
            _line(axes[-1], along, gains)
            axes[-1].axhline(0, color=LINES[1], linestyle="--", lw=1.1)
            axes[-1].set_title("Δm in percent ↑\nagainst single task", loc="left", fontsize=9)
    return figure


def _line(axis: Axes, along: Sequence[int | str], statistics: Sequence[Statistic | None]) -> None:
    known = [(i, s) for i, s in enumerate(statistics) if s is not None]
    axis.errorbar(
        [index for index, _ in known],
        [statistic.mean for _, statistic in known],
        [statistic.std or 0.0 for _, statistic in known],
        color=LINES[0],
        marker="o",
        markersize=4,
        lw=1.3,
        capsize=2.5,
    )
    axis.set_xticks(range(len(along)), [place_name(place) for place in along])
    axis.margins(x=0.12)
    tidy(axis)
