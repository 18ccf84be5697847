"""``metrics.json`` and pictures: what a run is worth, and what it looks like."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taskprism.atomic import (
    missing_folders,
    path_inside,
    safe_name,
    write_bytes,
    write_json,
    write_picture,
)
from taskprism.data.protocol import Protocol, Split
from taskprism.data.sample import collate
from taskprism.errors import CheckpointError
from taskprism.models.base import MultiTaskModel
from taskprism.recipes.schema import Recipe
from taskprism.scoring.evaluation import Results, evenly_spaced
from taskprism.scoring.image_states import ImageStates
from taskprism.scoring.resources import count_macs, count_parameters
from taskprism.training.run_directory import CheckpointName, RunDirectory, without_nan
from taskprism.visualization import panel

PICTURES = 6


@dataclass(frozen=True)
class Scored:
    """What was scored: which images with which weights after how many epochs."""

    split: Split
    checkpoint: CheckpointName
    epoch: int | None


def write_scores(
    run: RunDirectory,
    recipe: Recipe,
    protocol: Protocol,
    model: MultiTaskModel,
    results: Results,
    scored: Scored,
    image_states: ImageStates | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the scores of a split: ``metrics.json``, or ``metrics_SPLIT.json`` for another split.

    ``metrics.json`` is for the test images, or for the validation images where there are none. The
    states of each image are written next to it.

    Args:
        run: Where to.
        recipe: Names of run, model and backbone, and the seed.
        protocol: Under which rules the scores were made.
        model: For its tasks and size.
        results: Task -> metric -> value; NaN is written as null.
        scored: Which images, with which weights.
        image_states: The metrics' states of each image.
        notes: Further keys of the file.

    Returns:
        The file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    content: dict[str, Any] = {
        "run": recipe.name,
        "model": recipe.model.name,
        "backbone": recipe.model.backbone,
        "protocol": protocol.name,
        "input_size": list(protocol.input_size),
        **asdict(scored),
        "seed": recipe.seed,
        "metrics": without_nan(results),
        "higher_is_better": {task.name: task.higher_is_better for task in model.tasks},
        "primary": {task.name: task.primary_metric for task in model.tasks},
        "parameters": count_parameters(model),
        "macs": count_macs(model, protocol.input_size),
        **(notes or {}),
    }
    file = run.scores_file(scored.split, protocol.scored_split)
    _check_measured(file, results)
    if image_states is not None:
        write_bytes(run.image_states_file, image_states.to_bytes())
    write_json(file, content)
    return file


def _check_measured(file: Path, results: Results) -> None:
    """Check that no scores are replaced by ones of tasks for which nothing was measured.

    Raises:
        CheckpointError: Nothing was measured of any task, or of one that ``file`` has scores of.
    """
    empty = [task for task, values in results.items() if not _has_number(values)]
    if results and len(empty) < len(results):
        before = _read_metrics(file)
        empty = [task for task in empty if _has_number(before.get(task, {}))]
    if empty or not results:
        raise CheckpointError(
            f"Nothing was measured of {', '.join(empty) or 'any task'}: no label was valid. {file} "
            "is not written. Check the labels with `taskprism data check`."
        )


def _has_number(values: Mapping[str, Any]) -> bool:
    return any(isinstance(value, int | float) and math.isfinite(value) for value in values.values())


def _read_metrics(file: Path) -> Mapping[str, Any]:
    """Metrics in a file of scores; none if it cannot be read."""
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        return {task: values for task, values in metrics.items() if isinstance(values, dict)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_pictures(
    folder: Path, protocol: Protocol, split: Split, model: MultiTaskModel, count: int = PICTURES
) -> list[Path]:
    """Draw panels of images spread evenly over a split: image, labels, predictions.

    Returns:
        The PNG files, named after the images.

    Raises:
        CheckpointError: A file cannot be written; none of these pictures is left, unless it
            replaced an earlier one.
    """
    pictures: dict[Path, np.ndarray] = {}
    for index, (name, picture) in draw_panels(protocol, split, model, count).items():
        file = path_inside(folder, f"{safe_name(name)}.png")
        other = path_inside(folder, f"{safe_name(name)}_{index}.png")
        pictures[other if file in pictures else file] = picture
    created = [path for path in (*pictures, *missing_folders(folder)) if not path.exists()]
    try:
        for file, picture in pictures.items():
            write_picture(file, picture)
    except CheckpointError:
        for path in created:
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        raise
    return list(pictures)


@torch.inference_mode()
def draw_panels(
    protocol: Protocol, split: Split, model: MultiTaskModel, count: int
) -> dict[int, tuple[str, np.ndarray]]:
    """Panels of images spread evenly over a split.

    Returns:
        Index of the image -> its name and its panel ``(H, W, 3)`` uint8.
    """
    dataset = protocol.dataset(split, protocol.evaluation_transform())
    device = model.image_mean.device
    was_training = model.training
    model.eval()
    panels: dict[int, tuple[str, np.ndarray]] = {}
    for index in evenly_spaced(len(dataset), count):
        batch = collate([dataset[index]], model.tasks)
        outputs = model(model.normalize(batch.images.to(device)))
        picture = panel(
            batch.images[0],
            {task.name: task.decode(outputs[task.name].float())[0] for task in model.tasks},
            {name: target[0] for name, target in batch.targets.items()},
            {name: valid[0] for name, valid in batch.valid.items()},
            tasks=model.tasks,
            title=f"{model.name}, {protocol.name} {split}: {batch.names[0]}",
        )
        panels[index] = batch.names[0], picture
    model.train(was_training)
    return panels
