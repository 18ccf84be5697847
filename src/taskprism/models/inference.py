"""Prediction with a trained model on an image of any size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.tasks.base import Task

if TYPE_CHECKING:
    from taskprism.models.base import MultiTaskModel

SMALLEST = 32  # pixels on a side, which every backbone can downsample
NetworkSize = tuple[int, int] | Literal["native"] | None
"""Size at which a network sees images; see :func:`predict`."""


@torch.inference_mode()
def predict(
    model: MultiTaskModel,
    image: Tensor,
    size: NetworkSize = None,
    tasks: Sequence[str] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    tile: int | None = None,
    overlap: int = 64,
) -> dict[str, Tensor]:
    """Predict every task at every pixel of one image.

    The image is resized to the size of the network, and the raw outputs back to the size of the
    image. They are decoded afterwards, so that class borders and directions belong to the pixel
    grid of the image. The model stays in the mode (training or evaluation) that it was in.
    :meth:`taskprism.models.MultiTaskModel.predict` does the same for files and arrays.

    Args:
        model: Any model of this package, on any device.
        image: ``(3, H, W)`` RGB in [0, 1], not normalized, any size.
        size: ``(height, width)`` that the network was trained with. For a model that accepts any
            size, the image keeps its aspect ratio and is resized to about as many pixels; for
            others, it is stretched to exactly this size. None: the ``input_size`` of the model, if
            it is recorded, otherwise the size of the image (at least 32 on a side). ``"native"``:
            the size of the image, if the model accepts any size.
        tasks: Names of main tasks; by default all. A model that runs one task at a time computes
            nothing for the others.
        flip: Average with the outputs for the mirror image.
        scales: Average the outputs at these multiples of the size.
        tile: Side of square tiles, in pixels of the image. The network sees each tile at its own
            size, and overlapping tiles are blended. For images larger than memory allows: only a
            strip of the outputs is kept. The parameter ``size`` is not used then.
        overlap: Pixels that neighboring tiles share.

    Returns:
        Task name -> decoded ``(target_channels, H, W)`` on the CPU.

    Raises:
        InputError: The image is not ``(3, H, W)``, or an option does not fit the model.
        UnknownNameError: The model has no such task.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> from taskprism.models.inference import predict
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> tuple(predict(model, torch.rand(3, 70, 90))["depth"].shape)
        (1, 70, 90)
    """
    how = Inference(size, flip, tuple(scales), tile, overlap)
    return predict_batch(model, [image], tasks, how)[0]


@dataclass(frozen=True)
class Inference:
    """How a network sees an image; see :func:`predict`.

    Attributes:
        size: ``(H, W)``, ``"native"``, or None for the size that the model records.
        flip: Whether outputs are averaged with those for the mirror image.
        scales: Multiples of the size, whose outputs are averaged.
        tile: Side of square tiles, or None.
        overlap: Pixels that neighboring tiles share.

    Raises:
        InputError: A value is out of range.

    Example:
        >>> Inference(tile=512).overlap
        64
    """

    size: NetworkSize = None
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    tile: int | None = None
    overlap: int = 64

    def __post_init__(self) -> None:
        if isinstance(self.size, str) and self.size != "native":
            raise InputError(f"size must be (height, width), 'native' or None, got {self.size!r}.")
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise InputError(f"scales must be numbers from 0.1 to 10, got {self.scales!r}.")
        if self.tile is not None and self.tile < SMALLEST:
            raise InputError(f"tile must be at least {SMALLEST} pixels, got {self.tile}.")
        if self.tile is not None and not 0 <= self.overlap <= self.tile // 2:
            raise InputError(
                f"overlap must be from 0 to half of the tile ({self.tile // 2}), got "
                f"{self.overlap}."
            )


@torch.inference_mode()
def predict_batch(
    model: MultiTaskModel,
    images: Sequence[Tensor],
    tasks: Sequence[str] | None = None,
    how: Inference | None = None,
) -> list[dict[str, Tensor]]:
    """As :func:`predict` for several images, which pass through the network together if they can.

    Args:
        model: Any model of this package, on any device.
        images: Each ``(3, H, W)``; sizes may differ.
        tasks: Names of main tasks; by default all.
        how: Sizes, averages and tiles.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> first, second = predict_batch(model, [torch.rand(3, 70, 90), torch.rand(3, 40, 40)])
        >>> tuple(second["depth"].shape)
        (1, 40, 40)
    """
    how = Inference() if how is None else how
    for image in images:
        if image.ndim != 3 or image.shape[0] != model.in_channels or 0 in image.shape:
            raise InputError(
                f"predict() needs an image ({model.in_channels}, H, W), got {tuple(image.shape)}."
                + " Files hold RGB only: call model.predict with arrays of all channels."
                * (model.in_channels > 3)
            )
    chosen = [_task(model, name) for name in tasks] if tasks is not None else list(model.tasks)
    if how.tile is not None:
        return [_predict_tiles(model, image, chosen, how, how.tile) for image in images]
    names = [task.name for task in chosen]
    outputs = raw_outputs(model, images, how.size, names, flip=how.flip, scales=how.scales)
    results = []
    for image, output in zip(images, outputs, strict=True):
        height, width = image.shape[-2:]
        results.append(
            {task.name: decode_at(task, output[task.name], (height, width)) for task in chosen}
        )
    return results


@torch.inference_mode()
def raw_outputs(
    model: MultiTaskModel,
    images: Sequence[Tensor],
    size: NetworkSize = None,
    tasks: Sequence[str] | None = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> list[dict[str, Tensor]]:
    """Raw outputs for images of any sizes, at the size of the network.

    Images that have one size after resizing pass through the network together. The model stays in
    the mode (training or evaluation) that it was in.

    Args:
        model: Any model of this package, on any device.
        images: Each ``(3, H, W)``, see :func:`predict`.
        size: As for :func:`predict`.
        tasks: Names of main tasks; by default all.
        flip: As for :func:`predict`.
        scales: As for :func:`predict`; the outputs have the size of the first scale.

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
    chosen = list(model.tasks) if tasks is None else [_task(model, name) for name in tasks]
    fixed = not model.any_input_size
    if fixed and any(scale != 1 for scale in scales):
        raise InputError(
            f"This {model.name} accepts images of {model.input_size} only, so it has no other "
            "scales. Leave out scales."
        )
    base = model.input_size if size is None or (fixed and size == "native") else size
    base = None if base == "native" else base
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        height, width = image.shape[-2:]
        by_size[_network_size((height, width), base, model.any_input_size)].append(index)
    results: list[dict[str, Tensor]] = [{} for _ in images]
    was_training = model.training
    model.eval()
    try:
        for network_size, members in by_size.items():
            group = [images[index] for index in members]
            outputs = _averaged(model, group, network_size, chosen, flip, scales)
            for position, index in enumerate(members):
                results[index] = {
                    task.name: outputs[task.name][position : position + 1] for task in chosen
                }
    finally:
        model.train(was_training)
    return results


def _averaged(
    model: MultiTaskModel,
    images: Sequence[Tensor],
    size: tuple[int, int],
    tasks: Sequence[Task],
    flip: bool,
    scales: Sequence[float],
) -> dict[str, Tensor]:
    """Mean raw outputs ``(B, channels, *size)`` over scales and mirror images."""
    total: dict[str, Tensor] = {}
    target = _scaled(size, scales[0])
    count = len(scales) * (2 if flip else 1)
    for scale in scales:
        for mirrored in (False, True) if flip else (False,):
            outputs = _forward(model, images, _scaled(size, scale), tasks, mirrored)
            for task in tasks:
                output = _at_size(task, outputs[task.name].float(), target)
                if mirrored:
                    output = task.target_type.after_horizontal_flip(output.flip(-1))
                if count > 1:
                    output = output / count
                known = total.get(task.name)
                total[task.name] = output if known is None else known + output
    return total


def _forward(
    model: MultiTaskModel,
    images: Sequence[Tensor],
    size: tuple[int, int],
    tasks: Sequence[Task],
    mirrored: bool,
) -> Mapping[str, Tensor]:
    like = model.image_mean
    resized = [
        resize(image.unsqueeze(0).to(like.device, like.dtype), size, antialias=True)
        for image in images
    ]
    batch = model.normalize(torch.cat(resized))
    return model.forward_tasks(batch.flip(-1) if mirrored else batch, [t.name for t in tasks])


def _at_size(task: Task, output: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw output on another grid; unchanged at its own size."""
    height, width = output.shape[-2:]
    if (height, width) == size:
        return output
    return task.target_type.after_resize(resize(output, size), size[0] / height, size[1] / width)


def _predict_tiles(
    model: MultiTaskModel, image: Tensor, tasks: Sequence[Task], how: Inference, tile: int
) -> dict[str, Tensor]:
    """Decoded predictions from overlapping tiles, whose raw outputs are blended.

    Tiles are processed row by row. Lines that no later row of tiles touches are decoded, so that
    raw outputs are kept for one row of tiles only.
    """
    height, width = image.shape[-2:]
    tops, lefts = _tile_starts(height, tile, how.overlap), _tile_starts(width, tile, how.overlap)
    strips: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
    sums: dict[str, Tensor] = {}
    weights = torch.zeros(1, 1, 0, width)
    done = 0  # lines that are decoded
    for row, top in enumerate(tops):
        bottom = min(top + tile, height)
        missing = bottom - done - weights.shape[-2]
        weights = functional.pad(weights, (0, 0, 0, missing))
        sums = {name: functional.pad(total, (0, 0, 0, missing)) for name, total in sums.items()}
        for left in lefts:
            right = min(left + tile, width)
            part = image[:, top:bottom, left:right]
            output = raw_outputs(
                model,
                [part],
                "native",
                [task.name for task in tasks],
                flip=how.flip,
                scales=how.scales,
            )[0]
            weight = _blend_weight(bottom - top, right - left, how.overlap)
            place = (..., slice(top - done, bottom - done), slice(left, right))
            weights[place] += weight
            for task in tasks:
                values = _at_size(task, output[task.name], (bottom - top, right - left)).cpu()
                if task.name not in sums:
                    sums[task.name] = torch.zeros(1, values.shape[1], bottom - done, width)
                sums[task.name][place] += weight * values
        end = height if row + 1 == len(tops) else tops[row + 1]
        lines = end - done
        for task in tasks:
            mean = sums[task.name][..., :lines, :] / weights[..., :lines, :]
            strips[task.name].append(task.decode(mean)[0])
            sums[task.name] = sums[task.name][..., lines:, :]
        weights = weights[..., lines:, :]
        done = end
    return {name: torch.cat(parts, dim=-2) for name, parts in strips.items()}


def _tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover ``length`` and overlap by at least ``overlap``."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _blend_weight(height: int, width: int, overlap: int) -> Tensor:
    """Weight ``(h, w)`` of a tile: 1 inside, and falling towards its borders over the overlap."""

    def ramp(length: int) -> Tensor:
        pixels = torch.arange(length, dtype=torch.float32)
        border = torch.minimum(pixels + 1, length - pixels)
        return (border / (overlap + 1)).clamp(max=1)

    return ramp(height)[:, None] * ramp(width)


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


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    if scale == 1:
        return size
    return max(SMALLEST, round(size[0] * scale)), max(SMALLEST, round(size[1] * scale))


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
