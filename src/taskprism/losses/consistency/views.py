"""A second view of each image of a batch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from taskprism.layers import resize
from taskprism.tasks.base import Task
from taskprism.tasks.target import ValidMask


class View(NamedTuple):
    """Images and labels, with the shapes of those that it was made from.

    Attributes:
        images: ``(B, 3, H, W)`` in [0, 1], not normalized.
        targets: Task name -> ``(B, target_channels, H, W)``.
        valid: Task name -> ``(B, 1, H, W)`` boolean.

    Example:
        >>> from taskprism.losses.consistency import View
        >>> View(torch.rand(2, 3, 4, 6), {}, {}).images.shape
        torch.Size([2, 3, 4, 6])
    """

    images: Tensor
    targets: dict[str, Tensor]
    valid: dict[str, Tensor]


def zoomed_view(
    images: Tensor,
    targets: Mapping[str, Tensor],
    valid: Mapping[str, Tensor],
    tasks: Sequence[Task],
    factors: Sequence[float],
    seeds: Sequence[int],
) -> View:
    """A random window of each image, enlarged to the size of the image.

    Images are interpolated bilinearly. Labels move as in
    :class:`taskprism.data.transforms.RandomRescale`: each target type resamples its own, and depth
    is divided by the factor.

    Args:
        images: ``(B, 3, H, W)``.
        targets: Task name -> ``(B, target_channels, H, W)``.
        valid: Task name -> ``(B, 1, H, W)`` boolean.
        tasks: Tasks whose labels the view has.
        factors: How much larger, each at least 1; one is drawn for each image.
        seeds: One for each image; the view of an image depends on its seed alone.

    Example:
        >>> from taskprism.tasks import Depth
        >>> images = torch.rand(1, 3, 6, 8)
        >>> targets = {"depth": torch.full((1, 1, 6, 8), 3.0)}
        >>> valid = {"depth": torch.ones(1, 1, 6, 8, dtype=torch.bool)}
        >>> view = zoomed_view(images, targets, valid, [Depth()], factors=[1.5], seeds=[0])
        >>> view.targets["depth"].max().item()
        2.0
    """
    windows = [_window(images.shape[-2:], factors, seed) for seed in seeds]
    size = (images.shape[-2], images.shape[-1])
    zoomed: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for task in tasks:
        kind = task.target_type
        maps, shown = targets[task.name], valid[task.name]
        zoomed[task.name] = torch.stack(
            [
                kind.after_zoom(kind.resample(window.of(one), size), window.factor)
                for one, window in zip(maps, windows, strict=True)
            ]
        )
        masks[task.name] = torch.stack(
            [
                ValidMask.resample(window.of(one), size)
                for one, window in zip(shown, windows, strict=True)
            ]
        )
    pictures = [
        resize(window.of(image)[None], size) for image, window in zip(images, windows, strict=True)
    ]
    return View(torch.cat(pictures), zoomed, masks)


class _Window(NamedTuple):
    factor: float
    top: int
    left: int
    height: int
    width: int

    def of(self, values: Tensor) -> Tensor:
        """The part ``(..., height, width)`` of ``values``."""
        rows = slice(self.top, self.top + self.height)
        return values[..., rows, self.left : self.left + self.width]


def _window(size: Sequence[int], factors: Sequence[float], seed: int) -> _Window:
    draws = random.Random(seed)
    factor = draws.choice(list(factors))
    height, width = (max(1, round(side / factor)) for side in size)
    top, left = draws.randint(0, size[0] - height), draws.randint(0, size[1] - width)
    return _Window(factor, top, left, height, width)
