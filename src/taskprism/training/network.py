"""Model and criterion as one module, so that every wrapper around it sees plain losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from torch import Tensor, nn

from taskprism.models.base import MultiTaskModel
from taskprism.training.criterion import Criterion


class Losses(TypedDict):
    """Scalars; ``total`` is what the backward pass starts from."""

    total: Tensor
    final: dict[str, Tensor]
    initial: dict[str, Tensor]


class LossNetwork(nn.Module):
    """Images and labels in, losses out.

    Data parallelism and mixed precision wrap this module instead of the model: they walk its
    output, and would not see the initial predictions attached to a model's.
    """

    def __init__(self, model: MultiTaskModel, criterion: Criterion) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion

    def forward(
        self, images: Tensor, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> Losses:
        """Losses of a batch.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], not normalised.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)`` boolean.
        """
        predictions = self.model(self.model.normalise(images))
        total, losses = self.criterion(predictions, targets, valid)
        return {"total": total, "final": losses.final, "initial": losses.initial}
