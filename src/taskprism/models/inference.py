"""A trained model on an image of any size: answers in each task's units, at that size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.tasks.base import Task

_SHOWN = 5  # names in a message
SMALLEST = 32  # pixels on a side that every backbone can shrink


@torch.inference_mode()
def predict(
    model: MultiTaskModel,
    image: Tensor,
    size: tuple[int, int] | None = None,
    tasks: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Predict every task at every pixel of one image.

    The image is brought to the network's size, its raw outputs back to the image's, and only then
    decoded, so that class borders and directions are those of the image's own grid. The model is
    left in the mode (training or evaluation) in which it came.

    Args:
        model: Any model of this package, on any device.
        image: ``(3, H, W)`` RGB in [0, 1], not normalized, any size.
        size: ``(height, width)`` that the network was made for. A model that takes any size sees
            the whole image in its own proportions at about that many pixels; one that does not
            sees it stretched to exactly this size. None: the one that the model was built for,
            or else the image's own size (at least 32 on a side).
        tasks: Names of main tasks; by default all. A model that runs one task at a time computes
            nothing for the others.

    Returns:
        Task name -> decoded ``(target_channels, H, W)`` on the CPU.

    Raises:
        InputError: The image is not ``(3, H, W)``.
        UnknownNameError: The model has no such task.
    """
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(f"predict() needs one image (3, H, W), got {tuple(image.shape)}.")
    wanted = [_task(model, name) for name in tasks] if tasks is not None else list(model.tasks)
    height, width = image.shape[-2:]
    if size is None and not model.any_input_size:
        size = model.input_size
    network_size = _network_size((height, width), size, model.any_input_size)
    batch = image.unsqueeze(0).to(model.image_mean.device, model.image_mean.dtype)
    was_training = model.training
    model.eval()
    try:
        images = model.normalize(resize(batch, network_size, antialias=True))
        if isinstance(model, SingleTaskingModel):
            outputs = model(images, [task.name for task in wanted])
        else:
            outputs = model(images)
    finally:
        model.train(was_training)
    ratio = (height / network_size[0], width / network_size[1])
    return {task.name: _decode(task, outputs[task.name], (height, width), ratio) for task in wanted}


def check_finite_model(model: MultiTaskModel, source: str | Path) -> None:
    """Check that the weights and image statistics of a saved model are finite.

    Args:
        model: The model.
        source: Where it was read from, for messages.

    Raises:
        CheckpointError: Some are NaN or infinite, or a standard deviation is not positive; the
            message names them.
    """
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    bad = [
        name
        for name, tensor in values.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if not bad and not (model.image_std > 0).all():
        bad = ["image_std"]
    if bad:
        shown = ", ".join(bad[:_SHOWN]) + f" and {len(bad) - _SHOWN} more" * (len(bad) > _SHOWN)
        raise CheckpointError(
            f"The model in {source} is damaged: {shown} must be finite, and image_std positive. "
            "Use another checkpoint of the run, or train it again."
        )


def _task(model: MultiTaskModel, name: str) -> Task:
    known = {task.name: task for task in model.tasks}
    if name not in known:
        raise UnknownNameError(f"task of this {model.name}", name, known)
    return known[name]


def _network_size(
    image: tuple[int, int], size: tuple[int, int] | None, any_size: bool
) -> tuple[int, int]:
    if size is not None and not any_size:
        return size
    scale = 1.0 if size is None else math.sqrt(size[0] * size[1] / (image[0] * image[1]))
    # Networks shrink an image up to 32 times; a sliver is widened so that something is left.
    return max(SMALLEST, round(image[0] * scale)), max(SMALLEST, round(image[1] * scale))


def _decode(
    task: Task, output: Tensor, size: tuple[int, int], ratio: tuple[float, float]
) -> Tensor:
    decoded = task.decode(resize(output.float(), size))
    return task.target_type.after_resize(decoded, *ratio)[0].cpu()
