"""Information flow: how good the initial predictions are at each scale, and the final ones.

Table 4 of MTI-Net (Vandenhende et al., ECCV 2020): from the coarsest scale of the front end to the
finest each one knows more, because features are passed on from scale to scale, and distillation
adds the rest. The analysis works for every model with initial predictions, such as PAD-Net's single
scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taskprism.analysis.strides import stride_of
from taskprism.atomic import write_json
from taskprism.data.sample import Batch
from taskprism.errors import DataError, InputError
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import WEIGHTS, load
from taskprism.models.predictions import Predictions
from taskprism.progress import Reporter
from taskprism.recipes.schema import DataSettings
from taskprism.scoring.evaluation import Results, score_outputs, split_loader
from taskprism.training.experiment import build_protocol
from taskprism.training.log import without_nan
from taskprism.training.run_directory import RunDirectory

FILE = "information_flow.json"
FINAL = "final"

#: Stride of an initial prediction, finest first, or ``"final"`` -> task -> metric -> value.
Flow = dict[int | str, Results]


def information_flow(
    run_dir: str | Path,
    root: Path | None = None,
    refresh: bool = False,
    device: torch.device | str | None = None,
    reporter: Reporter | None = None,
) -> Flow:
    """Score the initial and final predictions of a trained run on its test images.

    The scores are those of the last epoch, like the run's own. They are kept in the run directory
    (``information_flow.json``) and only made again when the weights have changed.

    Args:
        run_dir: A run directory.
        root: Folder of the data, if it is no longer where the recipe says.
        refresh: Make the scores again in any case.
        device: Where to run; by default a GPU if there is one.
        reporter: Progress for people; by default on standard error.

    Returns:
        Stride in pixels -> task -> metric -> value, finest first, then ``"final"``. Main tasks
        only; a task without an initial prediction at a scale is missing there.

    Raises:
        InputError: The model has no initial predictions.
        CheckpointError: This is no run directory with a last checkpoint.
        DataError: The kept scores cannot be read.
    """
    run = RunDirectory(run_dir)
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
            f"{run.path} holds a {model.name}, which has no initial predictions; train a model "
            "with a front end, such as mti_net (`taskprism train rooms/mti_net --out DIR`)."
        )
    settings = recipe.data.model_dump() | ({} if root is None else {"root": root})
    protocol = build_protocol(DataSettings.model_validate(settings))
    loader = split_loader(protocol, "test", model, recipe.data.batch_size, recipe.data.workers)
    reporter = reporter or Reporter()
    flow = score_flow(model, reporter.track(loader, "scoring initial predictions"), device)
    content = {
        "run": recipe.name,
        "model": recipe.model.name,
        "protocol": protocol.name,
        "split": "test",
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
    """Metrics of every main task at every scale and at the end.

    Initial predictions are resized to the images' size, bilinearly as raw outputs, and then scored
    like the final ones.

    Args:
        model: On ``device``; it keeps its mode.
        batches: Each image once.
        device: Where batches are moved.
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
            f"{file} cannot be read ({error}); delete it, it will be made again."
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
            f"{file} is not complete ({error!r}); delete it, it will be made again."
        ) from error
