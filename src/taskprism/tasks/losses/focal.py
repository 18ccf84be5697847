"""Focal loss: cross-entropy in which well-predicted pixels count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from taskprism.tasks.losses.balanced_cross_entropy import balanced_binary_cross_entropy
from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class Focal(Loss):
    r"""Focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5).

    .. math:: \frac1{|V|} \sum_{p \in V} -w_{y_p} (1 - \pi_p)^\gamma \log \pi_p

    where :math:`\pi_p` is the predicted probability of the label. For classes, w are the task's
    ``class_weights``; for masks, w is its ``positive_weight`` for positives and one minus it for
    negatives (:math:`\alpha` of the paper, which takes 0.25). With :math:`\gamma = 0` it is
    ``cross_entropy`` or ``balanced_cross_entropy``.

    Attributes:
        gamma: :math:`\gamma`, 0 to 10; the paper takes 2.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> semseg = create_task("semseg", 2, losses={"focal": {"gamma": 2}})
        >>> labels = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
        >>> loss = semseg.loss(torch.zeros(1, 2, 4, 4), labels, labels == 0)
        >>> round(loss.item(), 4)  # 0.5^2 log 2
        0.1733
    """

    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0

    name: ClassVar[str] = "focal"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("classes", "mask")

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over valid pixels."""
        if task.label_kind == "mask":
            weight = task.weight_of_positives
            return balanced_binary_cross_entropy(output, target, valid, weight, self.gamma)
        log_probabilities = hide(output, valid).log_softmax(dim=1)
        labels = hide(target, valid).long()
        log_probability = log_probabilities.gather(1, labels)
        # 1 - p from log p: exact also where p is almost 1, and its power has a finite slope there.
        missing = -log_probability.expm1()
        per_pixel = -(missing.clamp(min=_SMALLEST) ** self.gamma) * log_probability
        weights = task.weights_of_classes(output)
        if weights is not None:
            per_pixel = per_pixel * weights[labels]
        return masked_mean(per_pixel, valid)


_SMALLEST = 1e-12
