"""Prediction with a trained model on an image of any size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel
from taskprism.models.single_tasking import SingleTaskingModel
from taskprism.tasks.base import Task

SMALLEST = 32  # pixels on a side, which every backbone can downsample


@torch.inference_mode()
def predict(
    model: MultiTaskModel,
    image: Tensor,
    size: tuple[int, int] | None = None,
    tasks: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Predict every task at every pixel of one image.

    The image is resized to the size of the network, and the raw outputs back to the size of the
    image. They are decoded afterwards, so that class borders and directions belong to the pixel
    grid of the image. The model stays in the mode (training or evaluation) that it was in.

    Args:
        model: Any model of this package, on any device.
        image: ``(3, H, W)`` RGB in [0, 1], not normalized, any size.
        size: ``(height, width)`` that the network was trained with. For a model that accepts any
            size, the image keeps its aspect ratio and is resized to about as many pixels; for
            others, it is stretched to exactly this size. None: the size that the model was built
            for, otherwise the size of the image (at least 32 on a side).
        tasks: Names of main tasks; by default all. A model that runs one task at a time computes
            nothing for the others.

    Returns:
        Task name -> decoded ``(target_channels, H, W)`` on the CPU.

    Raises:
        InputError: The image is not ``(3, H, W)``.
        UnknownNameError: The model has no such task.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> from taskprism.models.inference import predict
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> tuple(predict(model, torch.rand(3, 70, 90))["depth"].shape)
        (1, 70, 90)
    """
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(f"predict() needs one image (3, H, W), got {tuple(image.shape)}.")
    chosen = [_task(model, name) for name in tasks] if tasks is not None else list(model.tasks)
    outputs = raw_outputs(model, [image], size, [task.name for task in chosen])[0]
    height, width = image.shape[-2:]
    return {task.name: decode_at(task, outputs[task.name], (height, width)) for task in chosen}


@torch.inference_mode()
def raw_outputs(
    model: MultiTaskModel,
    images: Sequence[Tensor],
    size: tuple[int, int] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[dict[str, Tensor]]:
    """Raw outputs for images of any sizes, at the size of the network.

    Images that have one size after resizing pass through the network together. The model stays in
    the mode (training or evaluation) that it was in.

    Args:
        model: Any model of this package, on any device.
        images: Each ``(3, H, W)``, see :func:`predict`.
        size: As for :func:`predict`.
        tasks: Names of main tasks; by default all.

    Returns:
        For each image task name -> ``(1, channels, h, w)`` float32 on the device of the model;
        :func:`decode_at` makes a prediction of it.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> outputs = raw_outputs(model, [torch.rand(3, 70, 90), torch.rand(3, 40, 40)])
        >>> tuple(outputs[1]["depth"].shape)
        (1, 1, 40, 40)
    """
    names = [task.name for task in model.tasks] if tasks is None else list(tasks)
    if size is None and not model.any_input_size:
        size = model.input_size
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        height, width = image.shape[-2:]
        by_size[_network_size((height, width), size, model.any_input_size)].append(index)
    results: list[dict[str, Tensor]] = [{} for _ in images]
    was_training = model.training
    model.eval()
    try:
        for network_size, members in by_size.items():
            outputs = _forward(model, [images[index] for index in members], network_size, names)
            for position, index in enumerate(members):
                results[index] = {
                    name: outputs[name][position : position + 1].float() for name in names
                }
    finally:
        model.train(was_training)
    return results


def _forward(
    model: MultiTaskModel, images: Sequence[Tensor], size: tuple[int, int], tasks: Sequence[str]
) -> Mapping[str, Tensor]:
    like = model.image_mean
    resized = [
        resize(image.unsqueeze(0).to(like.device, like.dtype), size, antialias=True)
        for image in images
    ]
    batch = model.normalize(torch.cat(resized))
    return model(batch, tasks) if isinstance(model, SingleTaskingModel) else model(batch)


def decode_at(task: Task, output: Tensor, size: tuple[int, int]) -> Tensor:
    """Prediction ``(target_channels, H, W)`` on the CPU at ``size``, from the output for an image.

    Raw outputs are resized before they are decoded, so that class borders and directions belong to
    the pixel grid of the image.

    Args:
        task: What was predicted.
        output: ``(1, channels, h, w)``.
        size: ``(H, W)`` of the image.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> decode_at(create_task("depth"), torch.full((1, 1, 2, 3), 2.0), (4, 6)).mean().item()
        2.0
    """
    ratio = (size[0] / output.shape[-2], size[1] / output.shape[-1])
    decoded = task.decode(resize(output.float(), size))
    return task.target_type.after_resize(decoded, *ratio)[0].cpu()


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
    # Networks downsample up to 32 times; a narrow image is enlarged so that a map remains.
    return max(SMALLEST, round(image[0] * scale)), max(SMALLEST, round(image[1] * scale))
