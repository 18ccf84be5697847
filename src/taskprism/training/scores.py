"""``metrics.json`` and pictures: what a run is worth, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from taskprism.atomic import write_bytes, write_json
from taskprism.data.protocol import Protocol, Split
from taskprism.data.sample import collate
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
    epoch: int


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
    if image_states is not None:
        write_bytes(run.image_states_file, image_states.to_bytes())
    file = run.scores_file(scored.split, protocol.scored_split)
    write_json(file, content)
    return file


@torch.inference_mode()
def write_pictures(
    folder: Path, protocol: Protocol, split: Split, model: MultiTaskModel, count: int = PICTURES
) -> list[Path]:
    """Draw panels of images spread evenly over a split: image, labels, predictions.

    Returns:
        The PNG files, named after the images.
    """
    dataset = protocol.dataset(split, protocol.evaluation_transform())
    device = model.image_mean.device
    folder.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    model.eval()
    files = []
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
        files.append(folder / f"{batch.names[0].replace('/', '_')}.png")
        Image.fromarray(picture).save(files[-1])
    model.train(was_training)
    return files
