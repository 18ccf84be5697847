"""Binary cross-entropy with a weight for each of the two classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from taskprism.tasks.losses.base import LabelKind, Loss, LossTask, register_loss
from taskprism.tasks.losses.pixels import hide, masked_mean


@register_loss
@dataclass(frozen=True, kw_only=True)
class BalancedCrossEntropy(Loss):
    r"""Binary cross-entropy with weights for the two classes (HED, Xie and Tu, ICCV 2015).

    .. math:: \frac1{|V|} \sum_{p \in V} w\, y_p \log(1 + e^{-x_p})
              + (1 - w)(1 - y_p) \log(1 + e^{x_p})

    with the task's ``positive_weight`` w.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> target = torch.ones(1, 1, 2, 2)
        >>> loss = create_task("edge", losses="balanced_cross_entropy").loss
        >>> round(loss(0 * target, target, target > 0).item(), 4)  # 0.95 log 2
        0.6585
    """

    name: ClassVar[str] = "balanced_cross_entropy"
    label_kinds: ClassVar[tuple[LabelKind, ...]] = ("mask",)

    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """Mean over valid pixels; see :func:`balanced_binary_cross_entropy`."""
        return balanced_binary_cross_entropy(output, target, valid, task.weight_of_positives)


def balanced_binary_cross_entropy(
    output: Tensor,
    target: Tensor,
    valid: Tensor,
    positive_weight: float | None,
    gamma: float = 0.0,
) -> Tensor:
    """Binary cross-entropy with weights for the two classes, see :class:`BalancedCrossEntropy`.

    Args:
        output: Logits ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)`` in [0, 1].
        valid: Boolean ``(B, 1, H, W)``.
        positive_weight: w in [0, 1]; None uses the share of negatives among the valid pixels of the
            batch, as HED does.
        gamma: Exponent of the probability of the wrong answer, by which each term is multiplied
            (focal loss); 0 for none.

    Example:
        >>> target = torch.ones(1, 1, 2, 2)
        >>> loss = balanced_binary_cross_entropy(0 * target, target, target > 0, 0.95)
        >>> round(loss.item(), 4)  # 0.95 log 2
        0.6585
    """
    logits = hide(output, valid)
    labels = hide(target, valid).to(logits.dtype)
    if positive_weight is None:
        weight = masked_mean(1 - labels, valid)
    else:
        weight = torch.as_tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    positive = weight * labels * F.softplus(-logits)
    negative = (1 - weight) * (1 - labels) * F.softplus(logits)
    if gamma:
        # exp(gamma log p): a power of the probability itself has no finite slope at 0.
        positive = positive * (gamma * F.logsigmoid(-logits)).exp()
        negative = negative * (gamma * F.logsigmoid(logits)).exp()
    return masked_mean(positive + negative, valid)
