"""What tasks with a yes or no per pixel have in common."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import torch
from torch import Tensor

from taskprism.errors import InputError
from taskprism.tasks import losses
from taskprism.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class BinaryTask(Task, ABC):
    """Probability per pixel from one logit, or from the difference of two.

    Two channels (no, yes) with softmax are the same as their difference with a sigmoid, so losses
    and metrics know only the one logit.

    Attributes:
        positive_weight: Weight of positives in the loss, negatives get one minus it; None takes
            the share of negatives in the batch, as HED does.
        soft: Whether labels may lie between 0 and 1; otherwise they are cut at 0.5.
    """

    channels: int = 1
    positive_weight: float | None = None
    soft: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(1, 2)
        if self.positive_weight is not None and not 0 <= self.positive_weight <= 1:
            raise InputError(
                f"Task {self.name!r}: positive_weight is {self.positive_weight}; it must lie in "
                "[0, 1], or be None for the share of negatives."
            )

    def logit(self, output: Tensor) -> Tensor:
        """Raw output ``(B, 1 or 2, H, W)`` -> one logit ``(B, 1, H, W)`` in full precision."""
        output = losses.full_precision(output)
        return output if self.channels == 1 else output[:, 1:] - output[:, :1]

    def labels(self, target: Tensor) -> Tensor:
        """Labels as the loss takes them, in [0, 1]."""
        return target if self.soft else (target >= 0.5).to(target.dtype)

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """See :func:`taskprism.tasks.losses.balanced_binary_cross_entropy`."""
        # Hidden before the two channels are subtracted: inf - inf would bring NaN into the graph.
        logit = self.logit(losses.hide(output, valid))
        return losses.balanced_binary_cross_entropy(
            logit, self.labels(target), valid, self.positive_weight
        )

    def decode(self, output: Tensor) -> Tensor:
        """Probability ``(B, 1, H, W)``."""
        return self.logit(output).sigmoid()

    @property
    def categories(self) -> int:
        """No and yes."""
        return 2

    def from_categories(self, logits: Tensor) -> Tensor:
        """The same probability from as many channels as the output has."""
        return logits if self.channels == 2 else logits[:, 1:] - logits[:, :1]

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of positive pixels and of all pixels, ``(2,)``."""
        return super().target_statistics(self.labels(target), valid)

    def constant_output(self, statistics: Tensor) -> Tensor:
        """The logit at which the balanced loss of a constant map is least.

        With share p of positives that is the log of :math:`w p / ((1 - w)(1 - p))`.
        """
        share = (statistics[0] / statistics[1].clamp(min=1)).clamp(1e-6, 1 - 1e-6)
        weight = (
            1 - share if self.positive_weight is None else share.new_tensor(self.positive_weight)
        )
        logit = (weight.clamp(1e-6, 1 - 1e-6).logit() + share.logit()).float()
        return logit[None] if self.channels == 1 else torch.stack([torch.zeros_like(logit), logit])

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Say if a valid label is not 0 or 1 (or not between them, for soft labels)."""
        labels = target[valid]
        good = (labels >= 0) & (labels <= 1) if self.soft else (labels == 0) | (labels == 1)
        if good.all():
            return None
        wrong = labels[~good].unique()[:5].tolist()
        allowed = "in [0, 1]" if self.soft else "0 or 1"
        return f"labels {', '.join(f'{value:g}' for value in wrong)} are not {allowed}"
