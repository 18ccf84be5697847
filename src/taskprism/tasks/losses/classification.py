"""Softmax cross-entropy with class weights and label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    r"""Softmax cross-entropy.

    .. math:: \frac1{|V|} \sum_{p \in V} -w_{y_p} \log \mathrm{softmax}(x_p)_{y_p}

    with the task's ``class_weights`` w. The sum is divided by the number of pixels; PyTorch's
    ``reduction="mean"`` divides it by the sum of their weights. Both are equal on average for
    ``class_weights: balanced``, whose mean over the training pixels is 1.

    Attributes:
        label_smoothing: :math:`\epsilon` in [0, 1): the label is 1 - :math:`\epsilon` on its class
            plus :math:`\epsilon` spread over all classes (Szegedy et al., CVPR 2016), as in
            :func:`torch.nn.functional.cross_entropy`.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> semseg = create_task("semseg", 5, losses={"cross_entropy": {"label_smoothing": 0.1}})
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
        >>> round(semseg.loss(torch.zeros(1, 5, 4, 4), labels, labels == 0).item(), 3)  # log 5
        1.609
    """

    label_smoothing: Annotated[float, Field(ge=0, le=0.999)] = 0.0

    name: ClassVar[str] = "cross_entropy"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("classes",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over valid pixels; see :func:`cross_entropy`."""
        weights = task.weights_of_classes(output)
        return cross_entropy(output, target, valid, weights, self.label_smoothing)


def cross_entropy(
    output: Tensor,
    target: Tensor,
    valid: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy, see :class:`CrossEntropy`.

    Args:
        output: Logits ``(B, classes, H, W)``.
        target: Class indices ``(B, 1, H, W)``, int64 in ``0..classes-1`` at valid pixels.
        valid: Boolean ``(B, 1, H, W)``.
        class_weights: w, ``(classes,)``; None: all 1.
        label_smoothing: Share of the label that is spread over all classes.

    Example:
        >>> import torch
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
        >>> round(cross_entropy(torch.zeros(1, 5, 4, 4), labels, labels == 0).item(), 3)  # log 5
        1.609
    """
    labels = hide(target, valid).squeeze(1).long()
    per_pixel = F.cross_entropy(
        hide(output, valid),
        labels,
        weight=class_weights,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return masked_mean(per_pixel.unsqueeze(1), valid)
