"""``taskprism predict``: run a trained network on images and folders of images."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from taskprism.atomic import (
    check_writable,
    path_inside,
    safe_name,
    write_bytes,
    write_picture,
)
from taskprism.cli.arguments import Device, Folder, Tasks
from taskprism.data.files import find_images, read_image
from taskprism.errors import DataError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import checkpoint_folder, load, training_size
from taskprism.models.inference import predict as predict_image
from taskprism.progress import Reporter
from taskprism.tasks.base import Task
from taskprism.visualization.panels import panel


def predict(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    images: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE [IMAGE ...]")
    ],
    /,
    *,
    out: Folder,
    raw: bool = False,
    size: Literal["network", "native"] = "network",
    tasks: Tasks = (),
    checkpoint: Literal["best", "last"] = "best",
    device: Device = None,
) -> None:
    """Predict every task of a trained network on images of any size.

    Writes DIR/panels/NAME.png (the image with all predictions), DIR/TASK/NAME.png (one colored
    picture per task, as large as the image) and, with --raw, DIR/TASK/NAME.npy (class indices,
    meters, unit vectors or probabilities; height x width [x channels]).

    Args:
        run: A run directory, a saved model, or a model id of the Hugging Face hub.
        images: Image files, or folders of images.
        out: Folder for the results.
        raw: Also write arrays.
        size: Whether the network sees the image at about its training size, or at the size of the
            image. The results are as large as the image either way.
        tasks: Tasks to predict; by default all.
        checkpoint: Weights of the best epoch of a run directory, or of its last.
        device: Device such as cpu or cuda:1; by default a GPU if available.
    """
    files = find_images(images)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = checkpoint_folder(run, checkpoint)
    model = load(source, device)
    wanted = _choose(model, tasks)
    for task in wanted:
        path_inside(out, task.name)
    check_writable(out)
    reporter = Reporter()
    network_size = training_size(run) if size == "network" else None
    if size == "network" and network_size is None:
        reporter.line(f"{run} does not record its training size; images are not resized.")
    failed = []
    names = unique_names(files)
    for file, name in zip(files, names, strict=True):
        if safe_name(file.stem) != file.stem:
            reporter.line(f"The results of {str(file)!r} are named {name!r}.")
    for file, name in reporter.track(list(zip(files, names, strict=True)), "predicting"):
        try:
            image = read_image(file)
        except DataError as error:
            reporter.line(str(error))
            failed.append(file)
            continue
        predictions = predict_image(
            model, image.as_subclass(Tensor), network_size, [task.name for task in wanted]
        )
        _write(out, name, image.as_subclass(Tensor), predictions, wanted, raw)
    reporter.line(f"Predicted {len(files) - len(failed)} of {len(files)} images, see {out}.")
    if failed:
        raise DataError(
            f"Cannot read {len(failed)} of {len(files)} images: {', '.join(map(str, failed))}."
        )


def unique_names(files: Sequence[Path]) -> list[str]:
    """Name of the results of each file: its stem, or more of its name if stems are equal.

    What cannot be in the name of a file on every system, such as a line break, becomes ``_``.
    """
    stems = Counter(file.stem for file in files)
    names: list[str] = []
    taken: set[str] = set()  # without case, which some file systems do not distinguish
    for file in files:
        base = safe_name(file.stem if stems[file.stem] == 1 else file.name)
        name, number = base, 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _choose(model: MultiTaskModel, names: Sequence[str]) -> list[Task]:
    known = {task.name: task for task in model.tasks}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"This {model.name} does not predict {', '.join(unknown)}; it predicts "
            f"{', '.join(known)}."
        )
    return [known[name] for name in names or known]


def _write(
    out: Path,
    name: str,
    image: Tensor,
    predictions: dict[str, Tensor],
    tasks: Sequence[Task],
    raw: bool,
) -> None:
    picture = panel(image, predictions, tasks=tasks, title=name)
    write_picture(path_inside(out, "panels", f"{name}.png"), picture)
    for task in tasks:
        values = predictions[task.name]
        write_picture(path_inside(out, task.name, f"{name}.png"), task.color(values))
        if raw:
            array = io.BytesIO()
            np.save(array, _as_array(values, task))
            write_bytes(path_inside(out, task.name, f"{name}.npy"), array.getvalue())


def _as_array(values: Tensor, task: Task) -> np.ndarray:
    """``(C, H, W)`` -> ``(H, W)`` or ``(H, W, C)``; class indices in the smallest integer type."""
    array = values.permute(1, 2, 0).numpy()
    array = array[..., 0] if array.shape[-1] == 1 else array
    if not values.is_floating_point():
        array = array.astype(np.min_scalar_type(task.channels - 1))
    return np.ascontiguousarray(array)
