"""Reverse Huber loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class BerHu(Loss):
    r"""Reverse Huber loss (Laina et al., 3DV 2016, eq. 1): L1 of small errors, L2 of large ones.

    .. math:: B(r) = |r| \text{ if } |r| \le c, \quad (r^2 + c^2) / (2 c) \text{ otherwise}

    with c a share of the largest error of the image, which is a constant for the gradient. (The
    paper takes the largest of the batch; with that of the image several processes equal one.)

    Attributes:
        share: c / largest error, above 0 and at most 1; the paper takes 0.2.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.ones(1, 1, 1, 2)
        >>> output = target + torch.tensor([0.1, 1.0])
        >>> loss = create_task("depth", losses="berhu").loss(output, target, target > 0)
        >>> round(loss.item(), 4)  # c = 0.2: (0.1 + (1 + 0.04) / 0.4) / 2
        1.35
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.2

    name: ClassVar[str] = "berhu"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("values", "distance")

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over the elements of valid pixels."""
        errors = (hide(output, valid) - hide(target, valid)).abs()
        limit = self.share * errors.detach().amax(dim=(1, 2, 3), keepdim=True)
        limit = torch.where(limit > 0, limit, torch.ones_like(limit))
        squared = (errors * errors + limit * limit) / (2 * limit)
        return masked_mean(torch.where(errors <= limit, errors, squared), valid)
