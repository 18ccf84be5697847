"""Random outputs with plausible labels for any task, for tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.tasks import Task, create_task, list_tasks

MASK_SHAPE = (4, 1, 6, 7)


def every_task() -> list[Task]:
    """One task of each kind, semantic segmentation with 5 classes."""
    return [create_task(kind, 5 if kind == "semseg" else None) for kind in list_tasks()]


def random_batch(
    task: Task, seed: int = 0, images: int = 3, size: tuple[int, int] = (7, 9)
) -> tuple[Tensor, Tensor, Tensor]:
    """Raw output, target and mask; about a third of the pixels is invalid."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, task.channels, *size)
    output = 2 * torch.randn(shape, generator=generator)
    labels = output + torch.randn(shape, generator=generator)
    target = task.decode(labels)
    if task.target_dtype == torch.float32 and task.target_channels == 1:
        # Binary tasks accept only 0 and 1; distances must be positive.
        everywhere = torch.ones_like(target[0], dtype=torch.bool)
        if task.validate_target(target[0], everywhere):
            target = (target > 0.5).float()
        elif not task.validate_target(target[0] + 0.1, everywhere):
            target = target + 0.1
    valid = torch.rand(images, 1, *size, generator=generator) > 0.35
    return output, target, valid


def mask_with_empty_image(seed: int) -> Tensor:
    """Random mask ``MASK_SHAPE`` without valid pixels in the second image."""
    valid = torch.rand(MASK_SHAPE, generator=torch.Generator().manual_seed(100 + seed)) > 0.3
    valid[1] = False
    return valid


def score(metrics: MetricCollection, *batch: Tensor) -> dict[str, float]:
    """Values after one update with ``batch``."""
    metrics.update(*batch)
    return {key: value.item() for key, value in metrics.compute().items()}


def to_numpy(*tensors: Tensor) -> list[np.ndarray]:
    """Arrays for the references."""
    return [tensor.numpy() for tensor in tensors]
