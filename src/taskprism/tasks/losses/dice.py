"""Dice loss: overlap of prediction and label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, image_mean, one_hot


@register_loss
@dataclass(frozen=True, kw_only=True)
class Dice(Loss):
    r"""One minus the Dice coefficient (Milletari et al., "V-Net", 3DV 2016), per image.

    With the predicted probability p and the label g (0 or 1) of the valid pixels of an image,

    .. math:: D = 1 - \frac{2 \sum_p p\, g + s}{\sum_p p + \sum_p g + s}

    of the positives of a mask, or the mean of D over the classes that the image's labels have. (The
    paper squares p and g in the denominator.) The loss is the mean over images, in which an image
    counts as often as it has valid pixels; so several processes equal one.

    Attributes:
        smooth: s in pixels, above 0 and at most 1e6. It keeps D of an image without positives near
            0 if hardly any are predicted.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> saliency = create_task("saliency", losses="dice")
        >>> target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        >>> loss = saliency.loss(torch.zeros(1, 1, 1, 2), target, target >= 0)
        >>> round(loss.item(), 4)  # 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
        0.3333
    """

    smooth: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    name: ClassVar[str] = "dice"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("classes", "mask")

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over images, weighted by their valid pixels."""
        output = hide(output, valid)
        if task.label_kind == "mask":
            probabilities = output.sigmoid()
            labels = hide(target, valid).to(output.dtype)
        else:
            probabilities = output.softmax(dim=1)
            labels = one_hot(target, valid, output.shape[1], output.dtype)
        probabilities = probabilities * valid
        overlap = (probabilities * labels).flatten(2).sum(dim=2)
        sizes = (probabilities + labels).flatten(2).sum(dim=2)
        dice = 1 - (2 * overlap + self.smooth) / (sizes + self.smooth)  # (B, classes)
        if task.label_kind == "classes":
            present = labels.flatten(2).amax(dim=2)
            dice = (dice * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return image_mean(dice.flatten(), valid)
