"""Cosine of the angle between directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class Cosine(Loss):
    """One minus the cosine of the angle (MTAN, Liu et al., CVPR 2019).

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        >>> create_task("normals", losses="cosine").loss(-5 * target, target, valid).item()
        2.0
    """

    name: ClassVar[str] = "cosine"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("direction",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over valid pixels; ``output`` has unit vectors."""
        cosine = (hide(output, valid) * hide(target, valid)).sum(dim=1, keepdim=True)
        return masked_mean(1 - cosine, valid)
