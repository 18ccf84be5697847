"""The sections of the report of a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskprism.analysis.run_report.predicted import Diagnosis, Example
from taskprism.analysis.run_report.recorded import Recorded
from taskprism.recipes.files import to_yaml
from taskprism.scoring.tables import NOTHING, arrow, billions, millions, number
from taskprism.tasks.base import Task
from taskprism.tasks.colors import ColorScale, Legend, Swatches, scale_colors
from taskprism.tasks.diagnostics import ClassScores, PixelError
from taskprism.text_table import TextTable
from taskprism.visualization.canvas import tile_size
from taskprism.visualization.charts import (
    calibration_chart,
    confusion_chart,
    histogram_chart,
    line_chart,
    rounded,
)
from taskprism.visualization.curves import Points
from taskprism.visualization.panels import pixel_row, tile
from taskprism.visualization.report import Figure, Section, TileRow

WIDE = 5  # classes; larger confusion matrices are not shrunk to a column
MOST_CLASSES = 20  # rows of a confusion matrix; the classes with fewer pixels are put together
RIGHT, WRONG = (214, 219, 225), (213, 94, 0)


@dataclass(frozen=True, eq=False)
class TaskFindings:
    """What is shown of one task.

    Attributes:
        task: The task.
        split: Split of the images.
        images: Number of images of the split.
        unlabeled: Number of images without a label of the task; None if unknown.
        classes: Scores of each class, or None.
        diagnosis: Histograms and calibration, or None if nothing was predicted.
        diagnosed: Number of images behind them.
        examples: Worst, median and best images.
    """

    task: Task
    split: str
    images: int
    unlabeled: int | None = None
    classes: ClassScores | None = None
    diagnosis: Diagnosis | None = None
    diagnosed: int = 0
    examples: Sequence[Example] = field(default_factory=tuple)


def facts_section(recorded: Recorded, sizes: Mapping[str, int]) -> Section:
    """What was run where, on which data, and the recipe."""
    recipe, manifest, result = recorded.recipe, recorded.manifest, recorded.result
    hardware = _mapping(manifest.get("hardware"))
    licenses = _mapping(manifest.get("licenses"))
    described = _mapping(manifest.get("protocol"))
    model = f"{recipe.model.name}, backbone {recipe.model.backbone}"
    if result is not None and result.parameters is not None:
        model += f", {millions(result.parameters)} M parameters"
        if result.macs is not None:
            model += f", {billions(result.macs)} G multiply-adds for an image"
    size = described.get("input_size") or (result.input_size if result is not None else None)
    data = str(described.get("name") or _names(recipe.data.protocol))
    if size:
        data += f", {' x '.join(str(side) for side in size)} pixels"
    if sizes:
        data += f"; {', '.join(f'{count} {split}' for split, count in sizes.items())} images"
    finished = manifest.get("finished")
    times = f"started {manifest['started']}" if manifest.get("started") else ""
    if manifest.get("resumed"):
        times += f", resumed {len(manifest['resumed'])} times"
    if finished:
        times += f", finished {finished}"
    epochs = recorded.trained_epochs
    training = f"{epochs} of {recipe.epochs} epochs, batch size {recipe.data.batch_size}"
    facts = [
        ("Recipe", f"{recipe.name}: {model}"),
        ("Tasks", ", ".join(recipe.tasks) or "all of the protocol"),
        ("Protocol", data),
        ("Data license", str(licenses.get("data") or "unknown")),
        ("Weights", str(licenses.get("weights") or "unknown")),
        ("Training", f"{training}, {_duration(recorded.training_seconds)} without evaluations"),
        ("Time", times),
        ("Seed", str(recipe.seed)),
        ("Machine", _machine(hardware)),
        ("Versions", _pairs(_mapping(manifest.get("versions")))),
    ]
    git = _mapping(manifest.get("git"))
    if git.get("commit"):
        changed = ", with changes" if git.get("changed") else ""
        facts.append(("Commit", f"{git['commit']}{changed}"))
    skipped = manifest.get("skipped_steps")
    if skipped:
        facts.append(("Skipped steps", f"{skipped}: a loss was not finite"))
    return Section(
        "Run",
        facts=[(name, value) for name, value in facts if value],
        details=("The complete recipe", to_yaml(recipe)),
    )


def scores_section(recorded: Recorded, tasks: Sequence[Task]) -> Section | None:
    """Every metric of every task, a column per split that was scored; None without scores."""
    splits = list(recorded.results)
    if not splits:
        return None
    primary = {task.name: task.primary_metric for task in tasks}
    better = {task.name: task.higher_is_better for task in tasks}
    if recorded.result is not None:
        primary |= recorded.result.primary
        better |= {name: dict(v) for name, v in recorded.result.higher_is_better.items()}
    keys = dict.fromkeys(
        (task, metric)
        for results in recorded.results.values()
        for task, metrics in results.items()
        for metric in sorted(metrics, key=lambda key: key != primary.get(task))
    )
    rows, best = [], set()
    for row, (task, metric) in enumerate(keys):
        direction = better.get(task, {}).get(metric)
        name = f"{task} {metric}" + ("" if direction is None else f" {arrow(direction)}")
        rows.append([name, *(_value(recorded.results[s], task, metric) for s in splits)])
        if metric == primary.get(task):
            best.update((row, place) for place in range(len(splits) + 1))
    if recorded.result is not None:
        epoch = recorded.result.epoch
        title = f"epoch {epoch}" if epoch is not None else "epoch unknown"
        title += f", checkpoint {recorded.checkpoint}"
    else:
        title = "the last evaluation during training"
    table = TextTable(
        title,
        ["metric", *splits],
        rows,
        frozenset(best),
        [
            "Bold: the primary metric of each task, which Δm and the choice of the best epoch use. "
            "↑ higher is better, ↓ lower is better."
        ],
    )
    return Section("Scores", table=table)


def curves_section(recorded: Recorded, tasks: Sequence[Task]) -> Section | None:
    """Losses, learning rate and metrics over epochs; None without a log."""
    train = recorded.entries("train")
    if not train:
        return None
    charts: list[Figure] = []
    losses = _series(train, "losses")
    for name, points in {"total": _points(train, "total"), **losses}.items():
        if points:
            title = "Training loss, total" if name == "total" else f"Training loss of {name}"
            charts.append(_curve(title, {name: points}, "loss"))
    rates = {"learning rate": _points(train, "lr")} | _series(train, "lr")
    if any(rates.values()):
        charts.append(_curve("Learning rate", rates, "learning rate"))
    primary, others = [], []
    for task in tasks:
        for metric, higher in task.higher_is_better.items():
            lines = _metric_lines(recorded, task.name, metric)
            if not any(lines.values()):
                continue
            where = "/".join(lines)
            figure = _curve(
                f"{task.name} {metric} on {where}", lines, f"{where} {metric} {arrow(higher)}"
            )
            (primary if metric == task.primary_metric else others).append(figure)
    return Section(
        "Training curves",
        ["The loss of each task is that of its final prediction, before weighting."],
        charts=[*charts, *primary],
        more_charts=others,
    )


def task_section(findings: TaskFindings) -> Section:
    """Scores per class, histograms, calibration, and the worst, median and best images."""
    task = findings.task
    paragraphs = []
    if findings.unlabeled:
        paragraphs.append(
            f"{findings.unlabeled} of {findings.images} {findings.split} images have no label of "
            f"{task.name} and are left out."
        )
    charts, figures = [], []
    table = None
    if findings.classes is not None:
        table = _class_table(findings.classes)
        # A large matrix keeps its size, so that it stays readable on a phone, and scrolls.
        large = len(findings.classes.names) > WIDE
        (figures if large else charts).append(_confusion(findings.classes, task.name))
    if findings.diagnosis is not None:
        if findings.diagnosed < findings.images:
            paragraphs.append(
                f"Histograms and calibration are of {findings.diagnosed} images, evenly spaced "
                f"over the {findings.images} of the split."
            )
        charts += _diagnosis_charts(task, findings.diagnosis)
    if findings.examples:
        paragraphs.append(
            f"Images are ranked by the {task.primary_metric} of each image alone. Hatched pixels "
            "have no label."
        )
    limits = _limit(findings)
    rows = [_example_row(task, example, limits, findings) for example in findings.examples]
    return Section(
        f"Task {task.name}", paragraphs, table, charts=charts, figures=figures, tiles=rows
    )


def commands_section(recorded: Recorded) -> Section:
    """Commands that repeat the run, its scores and this page."""
    place = shlex.quote(recorded.run.place)
    return Section(
        "Commands",
        ["The run directory holds everything that these commands need besides the data."],
        commands=[
            "# train again, in a new folder",
            f"taskprism train {place}/recipe.yaml --out NEW_FOLDER",
            "# score again, and write this page again",
            f"taskprism evaluate {place}",
            f"taskprism report {place}",
            "# predict photographs",
            f"taskprism predict {place} PHOTO.jpg --out predictions",
        ],
    )


def _class_table(classes: ClassScores) -> TextTable:
    pixels = classes.confusion.sum(dim=1)
    share = pixels / pixels.sum().clamp(min=1)
    rows = [
        [
            name,
            *(_number(values[index].item()) for values in classes.values.values()),
            f"{100 * share[index].item():.1f} %",
        ]
        for index, name in enumerate(classes.names)
    ]
    return TextTable("Classes", ["class", *classes.values, "share of labels"], rows)


def _confusion(classes: ClassScores, task: str) -> Figure:
    counts = classes.confusion.double().cpu().numpy()
    names, size = list(classes.names), len(classes.names)
    columns = list(names)
    extra = counts[:, size:].sum(axis=1, keepdims=True)
    counts = counts[:, :size]
    if size > MOST_CLASSES:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        keep, rest = np.sort(order[: MOST_CLASSES - 1]), np.sort(order[MOST_CLASSES - 1 :])
        counts = np.vstack([counts[keep], counts[rest].sum(axis=0)])
        counts = np.hstack([counts[:, keep], counts[:, rest].sum(axis=1, keepdims=True)])
        extra = np.vstack([extra[keep], extra[rest].sum(axis=0)])
        names = [*(names[index] for index in keep), f"{len(rest)} others"]
        columns = list(names)
    if extra.any():
        counts, columns = np.hstack([counts, extra]), [*columns, "no class"]
    right = np.trace(counts[:, : len(names)]) / max(counts.sum(), 1)
    caption = (
        f"Confusion matrix of {task}: percent of the pixels of each label that get each prediction"
    )
    if size <= MOST_CLASSES:
        caption += f"; {100 * right:.1f} % of all pixels are right"
    return Figure(caption, confusion_chart(counts, names, columns))


def _diagnosis_charts(task: Task, diagnosis: Diagnosis) -> list[Figure]:
    units = {error.name: error.unit for error in task.pixel_errors()}
    charts = []
    for name, histogram in diagnosis.histograms.items():
        if not histogram.pixels:
            continue
        unit = units.get(name, "")
        marks = {"median": histogram.quantile(0.5), "90 %": histogram.quantile(0.9)}
        edges, shares, above = histogram.shown()
        label = f"{name} ({unit})" if unit else name
        drawn = histogram_chart(edges.tolist(), shares.tolist(), label, marks)
        caption = (
            f"{name.capitalize()} of {task.name}: median {_with_unit(marks['median'], unit)}, 90 % "
            f"of the pixels below {_with_unit(marks['90 %'], unit)}"
        )
        if above > 0.0005:
            caption += f"; {100 * above:.1f} % are beyond the right end"
        charts.append(Figure(caption, drawn))
    calibration = diagnosis.calibration
    if calibration is not None and calibration.counts.any():
        caption = (
            f"Calibration of {task.name}: how often it is true that {calibration.question}, over "
            f"the probability that the network states; mean difference {calibration.error:.3f}"
        )
        charts.append(Figure(caption, calibration_chart(*calibration.means)))
    return charts


def _limit(findings: TaskFindings) -> float:
    """Upper end of the scale of error maps, one for all images of a task."""
    error = findings.task.pixel_errors()[0]
    if error.is_miss:
        return 1.0
    diagnosis = findings.diagnosis
    if diagnosis is not None and error.name in diagnosis.histograms:
        return max(diagnosis.histograms[error.name].quantile(0.98), 1e-6)
    shown = [_errors(error, example)[example.valid[0]] for example in findings.examples]
    values = torch.cat(shown) if shown else torch.zeros(0)
    return max(float(values.quantile(0.98)), 1e-6) if 0 < values.numel() < 2**24 else 1.0


def _errors(error: PixelError, example: Example) -> Tensor:
    """``(H, W)`` float."""
    return error.measure(example.prediction[None], example.target[None])[0, 0].float()


def _example_row(task: Task, example: Example, limit: float, findings: TaskFindings) -> TileRow:
    target = example.target[: task.target_channels]
    width, height = tile_size(example.image.shape[-2], example.image.shape[-1])
    unknown = ~example.valid[0].numpy()
    scale = pixel_row(target, example.valid)
    image = (example.image.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    label = task.color(target, example.valid)
    prediction = task.color(example.prediction, None, scale)
    error = task.pixel_errors()[0]
    drawn, error_legend = _error_map(error, _errors(error, example).numpy(), limit)
    tiles = [
        Figure("image", np.array(tile(image, None, width, height, smooth=True))),
        Figure("label", np.array(tile(label, unknown, width, height))),
        Figure("prediction", np.array(tile(prediction, None, width, height))),
        Figure(f"error: {error.name}", np.array(tile(drawn, unknown, width, height))),
    ]
    legend = task.legend(scale)
    legends: list[tuple[str, Legend]] = [] if legend is None else [(task.name, legend)]
    chosen = example.chosen
    labeled = findings.images - (findings.unlabeled or 0)
    title = (
        f"{chosen.rank} of {labeled}: {example.name}, {task.primary_metric} {number(chosen.score)}"
    )
    return TileRow(title, tiles, [*legends, ("error", error_legend)])


def _error_map(error: PixelError, values: np.ndarray, limit: float) -> tuple[np.ndarray, Legend]:
    if error.is_miss:
        picture = np.array([RIGHT, WRONG], np.uint8)[(values > 0.5).astype(int)]
        return picture, Swatches(((RIGHT, "right"), (WRONG, error.name)))
    picture = scale_colors(np.nan_to_num(values / limit, nan=1.0, posinf=1.0), reverse=False)
    colors = scale_colors(np.linspace(0, 1, 256), reverse=False)
    return picture, ColorScale(colors, 0.0, limit, error.unit)


def _curve(title: str, lines: Mapping[str, Points], label: str) -> Figure:
    ends = [points for points in lines.values() if points]
    caption = title
    if len(ends) == 1:
        (first, low), (last, high) = ends[0][0], ends[0][-1]
        caption += f": {rounded(low)} at epoch {first:g}, {rounded(high)} at epoch {last:g}"
    return Figure(caption, line_chart(lines, label))


def _metric_lines(recorded: Recorded, task: str, metric: str) -> dict[str, Points]:
    """Split -> scores over epochs."""
    lines: dict[str, dict[float, float]] = {}
    for entry in recorded.entries("evaluate"):
        value: Any = _mapping(_mapping(entry.get("metrics")).get(task)).get(metric)
        if _is_number(value):
            points = lines.setdefault(str(entry.get("split")), {})
            points[float(entry.get("epoch", 0))] = float(value)
    return {split: sorted(points.items()) for split, points in lines.items()}


def _points(entries: Sequence[Mapping[str, Any]], key: str) -> Points:
    found: list[tuple[float, Any]] = [(float(e.get("epoch", 0)), e.get(key)) for e in entries]
    return [(epoch, float(value)) for epoch, value in found if _is_number(value)]


def _series(entries: Sequence[Mapping[str, Any]], key: str) -> dict[str, Points]:
    """Name -> points, of a key that holds a number for each name."""
    names = dict.fromkeys(name for entry in entries for name in _mapping(entry.get(key)))
    return {
        name: _points(
            [{"epoch": e.get("epoch", 0), key: _mapping(e.get(key)).get(name)} for e in entries],
            key,
        )
        for name in names
    }


def _value(results: Mapping[str, Mapping[str, float]], task: str, metric: str) -> str:
    value = results.get(task, {}).get(metric)
    return NOTHING if value is None else _number(value)


def _number(value: float) -> str:
    return NOTHING if math.isnan(value) else number(value)


def _with_unit(value: float, unit: str) -> str:
    return f"{rounded(value)}{'' if unit in ('', '°') else ' '}{unit}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _machine(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return "unknown"
    parts = [
        str(hardware.get("accelerator") or hardware.get("cpu") or ""),
        f"device {hardware.get('device')}",
        f"CPU cores: {hardware.get('cores')}, threads: {hardware.get('threads')}",
        f"processes: {hardware.get('processes', 1)}",
        str(hardware.get("machine") or ""),
    ]
    return ", ".join(part for part in parts if part)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _names(protocol: str | Sequence[str]) -> str:
    return protocol if isinstance(protocol, str) else " + ".join(protocol)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
