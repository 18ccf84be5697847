"""Lovasz-softmax: a surrogate of the mean IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, image_mean, one_hot


@register_loss
@dataclass(frozen=True, kw_only=True)
class LovaszSoftmax(Loss):
    r"""Lovasz-softmax (Berman et al., CVPR 2018, eq. 11 and 12), per image.

    The Lovasz extension of the Jaccard loss :math:`1 - \mathrm{IoU}` of each class, at the errors
    :math:`|g_p - p_p|` between label (0 or 1) and probability; mean over the classes that the
    image's labels have. If all probabilities are 0 or 1, it is one minus their mean IoU. The loss
    is the mean over images, in which an image counts as often as it has valid pixels; so several
    processes equal one. It sorts the pixels of every class, so it takes longer than other losses.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> semseg = create_task("semseg", 2, losses={"cross_entropy": 1, "lovasz_softmax": 0.5})
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
        >>> loss = semseg.loss(torch.zeros(1, 2, 4, 4), labels, labels == 0)
        >>> round(loss.item(), 4)  # log 2 + 0.5 * 0.5
        0.9431
    """

    name: ClassVar[str] = "lovasz_softmax"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("classes",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over images, weighted by their valid pixels."""
        probabilities = hide(output, valid).softmax(dim=1)
        labels = one_hot(target, valid, output.shape[1], probabilities.dtype)
        # Invalid pixels have error 0: they come last in the order and add nothing.
        errors = ((labels - probabilities).abs() * valid).flatten(2)
        labels = labels.flatten(2)
        # One class at a time: sorting all at once would take several times the memory.
        losses = [
            lovasz_extension(error, label)
            for error, label in zip(errors.unbind(1), labels.unbind(1), strict=True)
        ]
        present = labels.amax(dim=2)
        of_images = (torch.stack(losses, dim=1) * present).sum(dim=1)
        return image_mean(of_images / present.sum(dim=1).clamp(min=1), valid)


def lovasz_extension(errors: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss of one class.

    Args:
        errors: ``(B, N)`` in [0, 1].
        labels: ``(B, N)``, 0 or 1.

    Returns:
        ``(B,)`` in [0, 1].

    Example:
        >>> wrong = torch.tensor([[1.0, 0.0, 1.0, 0.0]])  # one of two found, and one too many
        >>> round(lovasz_extension(wrong, torch.tensor([[1.0, 1.0, 0.0, 0.0]])).item(), 4)  # 1-1/3
        0.6667
    """
    ordered, order = errors.sort(dim=1, descending=True, stable=True)
    label = labels.gather(1, order)
    positives = label.sum(dim=1, keepdim=True)
    intersection = positives - label.cumsum(dim=1)
    union = positives + (1 - label).cumsum(dim=1)
    jaccard = 1 - intersection / union.clamp(min=1)
    slopes = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (ordered * slopes).sum(dim=1)
