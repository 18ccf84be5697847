"""Information flow: scores of the initial predictions at each scale, and of the final ones.

Table 4 of MTI-Net (Vandenhende et al., ECCV 2020): scores improve from the coarsest to the finest
scale of the front end, because features are propagated from scale to scale, and improve again by
distillation. The analysis works for every model with initial predictions, such as PAD-Net with its
single scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from taskprism.analysis.features import stride_of
from taskprism.atomic import write_json
from taskprism.data.sample import Batch
from taskprism.errors import DataError, InputError
from taskprism.layers import resize
from taskprism.metrics.gain import gain
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import WEIGHTS, load
from taskprism.models.predictions import Predictions
from taskprism.progress import Reporter
from taskprism.scoring.evaluation import Results, score_outputs, split_loader
from taskprism.scoring.tables import Statistic
from taskprism.training.experiment import saved_protocol
from taskprism.training.run_directory import RunDirectory, without_nan
from taskprism.visualization.plotting import LINES, plot_style, tidy

FILE = "information_flow.json"
FINAL = "final"

#: Stride of an initial prediction, finest first, or ``"final"`` -> task -> metric -> value.
Flow = dict[int | str, Results]


def information_flow(
    run_dir: str | Path,
    root: str | Path | None = None,
    refresh: bool = False,
    device: torch.device | str | None = None,
    reporter: Reporter | None = None,
) -> Flow:
    """Score the initial and final predictions of a trained run on its test images.

    The weights are those of the last epoch. The scores are stored in the run directory
    (``information_flow.json``) and computed again only if the weights have changed.

    Args:
        run_dir: A run directory.
        root: Folder of the data, if it has moved since training.
        refresh: Compute the scores again in any case.
        device: Device to run on; by default a GPU if there is one.
        reporter: Progress display; by default on standard error.

    Returns:
        Stride in pixels -> task -> metric -> value, finest first, then ``"final"``, for main tasks.
        A scale lacks tasks without an initial prediction there.

    Raises:
        InputError: The model has no initial predictions.
        CheckpointError: ``run_dir`` is not a run directory with a last checkpoint.
        DataError: The stored scores cannot be read, or the data are not those of the run.

    Example:
        >>> flow = information_flow("runs/mti_net")  # doctest: +SKIP
        >>> flow[32]["depth"]["rmse"] > flow["final"]["depth"]["rmse"]  # doctest: +SKIP
        True
    """
    run = RunDirectory(run_dir)
    run.fetch()
    recipe = run.recipe()
    folder = run.find_checkpoint("last")
    with (folder / WEIGHTS).open("rb") as stream:
        weights = file_digest(stream, "sha256").hexdigest()
    file = run.path / FILE
    if file.is_file() and not refresh:
        kept = _read(file)
        if kept.get("weights") == weights:
            return _flow(kept, file)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load(folder, device)
    if not model.has_initial_predictions:
        raise InputError(
            f"The model {model.name} of {run.path} has no initial predictions. Train a model with "
            "a front end, such as mti_net (`taskprism train rooms/mti_net --out DIR`)."
        )
    protocol = saved_protocol(recipe, run.path, root)
    if run.data_fingerprint() not in (None, protocol.fingerprint()):
        raise DataError(
            f"The data of {protocol.name!r} are not those that the run in {run.path} was trained "
            "on. Restore them, or give their folder with --data-root."
        )
    split = protocol.scored_split
    loader = split_loader(protocol, split, model, recipe.data.batch_size, recipe.data.workers)
    reporter = reporter or Reporter()
    flow = score_flow(model, reporter.track(loader, "scoring initial predictions"), device)
    content = {
        "run": recipe.name,
        "model": recipe.model.name,
        "protocol": protocol.name,
        "split": split,
        "seed": recipe.seed,
        "weights": weights,
        "primary": {task.name: task.primary_metric for task in model.tasks},
        "higher_is_better": {task.name: task.higher_is_better for task in model.tasks},
        "metrics": {str(place): without_nan(results) for place, results in flow.items()},
    }
    write_json(file, content)
    return flow


def score_flow(
    model: MultiTaskModel, batches: Iterable[Batch], device: torch.device | str = "cpu"
) -> Flow:
    """Score every main task at every scale and at the end.

    Raw initial predictions are resized bilinearly to the size of the images and then scored like
    the final ones.

    Args:
        model: Model on ``device``; its mode is not changed.
        batches: Batches with each image once.
        device: Device to which batches are moved.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.models import create_model
        >>> protocol = create_protocol("rooms", input_size=(32, 48), test_length=1, tasks=["depth"])
        >>> model = create_model("pad_net", protocol.tasks, backbone="test_resnet")
        >>> list(score_flow(model, split_loader(protocol, "test", model, 1, 0)))
        [4, 'final']
    """
    return score_outputs(model, batches, _places, device)


def _places(outputs: Predictions, batch: Batch) -> dict[int | str, dict[str, Tensor]]:
    """Predictions by their stride, finest first, then the final ones."""
    size = batch.images.shape[-2:]
    places: dict[int | str, dict[str, Tensor]] = {}
    for scale in outputs.initial:
        stride = stride_of(size, next(iter(scale.values())).shape[-2:])
        places[stride] = {task: resize(output.float(), size) for task, output in scale.items()}
    return places | {FINAL: {task: resize(o.float(), size) for task, o in outputs.items()}}


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read {file} ({error}). Delete it to compute the scores again."
        ) from error


def _flow(content: dict[str, Any], file: Path) -> Flow:
    try:
        return {
            place if place == FINAL else int(place): {
                task: {k: float("nan") if v is None else float(v) for k, v in values.items()}
                for task, values in results.items()
            }
            for place, results in content["metrics"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file} is not complete ({error!r}). Delete it to compute the scores again."
        ) from error


def places(flows: Sequence[Flow]) -> list[int | str]:
    """All places of runs, coarsest first and the final output last.

    Example:
        >>> places([{4: {}, 32: {}, "final": {}}])
        [32, 4, 'final']
    """
    strides = {place for flow in flows for place in flow if isinstance(place, int)}
    return [*sorted(strides, reverse=True), FINAL]


def place_name(place: int | str) -> str:
    """Name of a place: ``1/32``, or ``final``.

    Example:
        >>> place_name(32)
        '1/32'
    """
    return place if isinstance(place, str) else f"1/{place}"


def flow_statistic(
    flows: Sequence[Flow], place: int | str, task: str, metric: str
) -> Statistic | None:
    """Mean and standard deviation of a metric over runs; None without a value.

    Example:
        >>> flows = [{"final": {"depth": {"rmse": rmse}}} for rmse in (0.5, 0.7)]
        >>> round(flow_statistic(flows, "final", "depth", "rmse").mean, 2)
        0.6
    """
    return Statistic.of([flow.get(place, {}).get(task, {}).get(metric, math.nan) for flow in flows])


def flow_gain(
    flows: Sequence[Flow],
    place: int | str,
    baselines: Sequence[Mapping[str, float]],
    primary: Mapping[str, str],
    higher_is_better: Mapping[str, bool],
) -> Statistic | None:
    """Δm in percent at a place, of each run relative to its single-task scores.

    Args:
        flows: Flows of runs; runs that lack a task at this place are left out.
        place: Stride or ``"final"``.
        baselines: For each run, task -> score of the single-task network.
        primary: Task -> metric.
        higher_is_better: Task -> whether a higher score is better.

    Example:
        >>> flows, primary = [{"final": {"depth": {"rmse": 0.54}}}], {"depth": "rmse"}
        >>> round(flow_gain(flows, "final", [{"depth": 0.6}], primary, {"depth": False}).mean, 2)
        10.0
    """
    totals = []
    for flow, baseline in zip(flows, baselines, strict=True):
        scores = {t: flow.get(place, {}).get(t, {}).get(m, math.nan) for t, m in primary.items()}
        if baseline and all(math.isfinite(scores[task]) for task in baseline):
            chosen = {task: scores[task] for task in baseline}
            totals.append(gain(chosen, baseline, {t: higher_is_better[t] for t in baseline}))
    return Statistic.of(totals)


def mean_baseline(baselines: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean score of each task over runs.

    Example:
        >>> mean_baseline([{"depth": 0.5}, {"depth": 0.7}])
        {'depth': 0.6}
    """
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
    """Plot scores from coarse to final, one panel per task, and Δm if there is a baseline.

    Args:
        flows: Flows of runs with different seeds. Lines are means, bars standard deviations.
        primary: Task -> metric to draw; also the order of the panels.
        higher_is_better: Task -> whether a higher score is better.
        baselines: For each run, task -> score of its single-task network. Their mean is a dashed
            line.
        title: Line above the plot.

    Example:
        >>> flow = {place: {"depth": {"rmse": 0.5}} for place in (4, "final")}
        >>> len(plot_flow([flow], {"depth": "rmse"}, {"depth": False}).axes)
        1
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
