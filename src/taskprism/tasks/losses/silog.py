"""Scale-invariant error of logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, image_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class SILog(Loss):
    r"""Scale-invariant loss of logarithms (Eigen et al., NeurIPS 2014, eq. 4), per image.

    With :math:`d_p = \log \hat z_p - \log z_p` at the n valid pixels of an image,

    .. math:: L = \frac1n \sum_p d_p^2 - \frac{\lambda}{n^2} \left(\sum_p d_p\right)^2

    With :math:`\lambda = 1` a factor on the whole prediction changes nothing, with 0 it is the mean
    squared error of logarithms. The loss is the mean over images, in which an image counts as often
    as it has valid pixels; so several processes equal one.

    The output of a network may be 0 or negative. Below ``smallest``, the logarithm of prediction
    and label is continued by its tangent, so that every output has a gradient.

    Attributes:
        variance_focus: :math:`\lambda` in [0, 1]; the paper takes 0.5, BTS and AdaBins 0.85.
        root: Use :math:`10 \sqrt{L}` (BTS, Lee et al., 2019).
        smallest: Value from which on the logarithm is exact, above 0; by default the lower end of
            the task's ``category_range``.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.ones(1, 1, 2, 2)
        >>> depth = create_task("depth", losses={"silog": {"variance_focus": 1.0}})
        >>> depth.loss(3 * target, target, target > 0).abs() < 1e-6
        tensor(True)
    """

    variance_focus: Annotated[float, Field(ge=0, le=1)] = 0.5
    root: bool = False
    smallest: Annotated[float, Field(gt=0, le=1e6)] | None = None

    name: ClassVar[str] = "silog"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("distance",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over images, weighted by their valid pixels."""
        smallest = task.smallest_value if self.smallest is None else self.smallest
        output = hide(output, valid)
        label = hide(target, valid).to(output.dtype)
        errors = (extended_log(output, smallest) - extended_log(label, smallest)) * valid
        pixels = valid.flatten(1).sum(dim=1).clamp(min=1)
        mean = errors.flatten(1).sum(dim=1) / pixels
        # Variance plus a share of the squared mean: the same number, never negative by rounding.
        deviations = (errors - mean.view(-1, 1, 1, 1)) * valid
        variance = (deviations * deviations).flatten(1).sum(dim=1) / pixels
        loss = variance + (1 - self.variance_focus) * mean * mean
        if self.root:
            # The square root has no finite slope at 0.
            loss = 10 * loss.clamp(min=_SMALLEST_SQUARE).sqrt()
        return image_mean(loss, valid)


_SMALLEST_SQUARE = 1e-8


def extended_log(values: Tensor, smallest: float) -> Tensor:
    """Natural logarithm, continued by its tangent at ``smallest`` for smaller values.

    Example:
        >>> extended_log(torch.tensor([1.0, 0.0]), 1.0).tolist()
        [0.0, -1.0]
    """
    tangent = math.log(smallest) + (values - smallest) / smallest
    return torch.where(values < smallest, tangent, values.clamp(min=smallest).log())
