"""Training curves from the logs of runs."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from taskprism.errors import DataError, InputError
from taskprism.visualization.plotting import GRID, INK, LINES, plot_style, tidy

LOG_FILE = "log.jsonl"
#: CSS variable in an SVG -> color on light pages and color on dark ones.
_COLORS = {
    "ink": (INK, "#d8dce1"),
    "grid": (GRID, "#363c44"),
    "blue": (LINES[0], "#4aa3dc"),
    "green": (LINES[2], "#27b88c"),
    "black": (LINES[6], "#f2f3f4"),
}

Points = list[tuple[float, float]]  # epoch, value


@dataclass(frozen=True)
class Curves:
    """Losses and scores in the log of one run.

    Attributes:
        losses: Task -> (epoch, mean training loss of that epoch).
        metrics: Task -> metric -> (epoch, score).
        split: Split that was scored during training.

    Example:
        >>> from taskprism.visualization import Curves
        >>> Curves(losses={"depth": [(1, 0.5)]}, metrics={}).split
        'test'
    """

    losses: Mapping[str, Points]
    metrics: Mapping[str, Mapping[str, Points]]
    split: str = "test"


def read_curves(run: str | Path) -> Curves:
    """Read ``log.jsonl`` of a run directory.

    An incomplete last line, for example after a power failure, is left out.

    Raises:
        DataError: The log is missing, or broken before its last line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as run:
        ...     event = {"event": "train", "epoch": 1, "losses": {"depth": 0.5}}
        ...     _ = Path(run, LOG_FILE).write_text(json.dumps(event))
        ...     read_curves(run).losses
        {'depth': [(1.0, 0.5)]}
    """
    losses: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    metrics: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    split = "test"
    for event in read_log(Path(run) / LOG_FILE):
        epoch = float(event.get("epoch", 0))
        if event.get("event") == "train":
            for task, value in event.get("losses", {}).items():
                if _is_number(value):
                    losses[task][epoch].append(float(value))
        elif event.get("event") == "evaluate":
            split = str(event.get("split", split))
            for task, values in event.get("metrics", {}).items():
                for metric, value in values.items():
                    if _is_number(value):
                        metrics[task][metric][epoch] = float(value)
    return Curves(
        {
            task: [(epoch, math.fsum(v) / len(v)) for epoch, v in sorted(series.items())]
            for task, series in losses.items()
        },
        {
            task: {metric: sorted(series.items()) for metric, series in named.items()}
            for task, named in metrics.items()
        },
        split,
    )


def read_log(file: Path) -> list[dict[str, Any]]:
    """Events of a JSON-lines log, in order; an incomplete last line is left out.

    Raises:
        DataError: The log is missing, or broken before its last line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as run:
        ...     _ = Path(run, LOG_FILE).write_text('{"epoch": 1}')
        ...     read_log(Path(run, LOG_FILE))
        [{'epoch': 1}]
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    events: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if index == len(lines) - 1:
                break
            raise DataError(f"{file}, line {index + 1}, is not JSON: {error}.") from error
    return events


def plot_curves(
    runs: Mapping[str, Sequence[Curves]],
    primary: Mapping[str, str],
    higher_is_better: Mapping[str, bool],
) -> Figure:
    """Plot the training loss and, below it, the primary metric; one column per task.

    Args:
        runs: Name of a method -> curves of its runs; all lines of a method have the same color.
        primary: Task -> metric to draw; also the order of the columns.
        higher_is_better: Task -> whether a higher score is better, for the arrow.

    Raises:
        InputError: ``primary`` is empty.

    Example:
        >>> curves = Curves(losses={"depth": [(1, 0.5), (2, 0.4)]}, metrics={})
        >>> figure = plot_curves({"mti_net": [curves]}, {"depth": "rmse"}, {"depth": False})
        >>> len(figure.axes)
        2
    """
    if not primary:
        raise InputError("Expected at least one task to draw, got none.")
    splits = "/".join(sorted({curve.split for curves in runs.values() for curve in curves}))
    with plot_style():
        figure = Figure(figsize=(max(2.7 * len(primary), 4), 4.6), layout="constrained")
        axes = figure.subplots(2, len(primary), squeeze=False, sharex=True)
        for column, (task, metric) in enumerate(primary.items()):
            upper, lower = axes[0, column], axes[1, column]
            upper.set_title(task, fontweight="bold", loc="left")
            arrow = "↑" if higher_is_better[task] else "↓"
            lower.set_ylabel(f"{splits} {metric} {arrow}")
            lower.set_xlabel("epoch")
            if column == 0:
                upper.set_ylabel("training loss")
            for index, (name, curves) in enumerate(runs.items()):
                color = LINES[index % len(LINES)]
                for curve in curves:
                    _line(upper, curve.losses.get(task, []), color, name)
                    _line(lower, curve.metrics.get(task, {}).get(metric, []), color, name)
        for axis in axes.flat:
            _style(axis)
        names = {label: line for axis in axes.flat for line, label in _handles(axis)}
        if names:
            figure.legend(
                list(names.values()),
                list(names),
                loc="outside lower center",
                ncols=6,
                frameon=False,
            )
    return figure


def as_svg(figure: Figure) -> str:
    """Render a figure as SVG text; equal figures give equal text.

    The background is transparent. Text, axes and lines have lighter colors where the reader prefers
    dark pages.

    Example:
        >>> as_svg(Figure()).startswith("<?xml")
        True
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "taskprism"}):
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None},
            bbox_inches="tight",
            pad_inches=0.15,
            transparent=True,
        )
    text = buffer.getvalue()
    for name, (light, _) in _COLORS.items():
        text = text.replace(light.lower(), f"var(--{name})")
    light, dark = (
        " ".join(f"--{name}: {colors[theme]};" for name, colors in _COLORS.items())
        for theme in range(2)
    )
    style = (
        f"<style>:root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
        "</style>"
    )
    head, tag, rest = text.partition("<defs>")
    return f"{head}{style}{tag}{rest}" if tag else text


def _line(axis: Axes, points: Points, color: str, name: str) -> None:
    if points:
        epochs, values = zip(*points, strict=True)
        axis.plot(epochs, values, color=color, marker="o", markersize=2.5, lw=1.3, label=name)


def _handles(axis: Axes) -> list[tuple[Any, str]]:
    handles, labels = axis.get_legend_handles_labels()
    return list(zip(handles, labels, strict=True))


def _style(axis: Axes) -> None:
    tidy(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
