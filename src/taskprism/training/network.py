"""Model and criterion as one module, so that every wrapper around it sees plain losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn

from taskprism.losses.criterion import Criterion
from taskprism.models import MultiTaskModel, Predictions, SingleTaskingModel
from taskprism.tasks.losses import full_precision
from taskprism.training.adversarial import Adversary


class Losses(TypedDict):
    """Scalars; ``total`` is what the backward pass starts from, the others are by task name."""

    total: Tensor
    final: dict[str, Tensor]
    initial: dict[str, Tensor]
    adversarial: NotRequired[dict[str, Tensor]]


class LossNetwork(nn.Module):
    """Images and labels in, losses out.

    Data parallelism and mixed precision wrap this module instead of the model: they walk its
    output, and would not see the initial predictions attached to a model's.

    Args:
        model: The model.
        criterion: Its loss.
        adversary: Judges gradients of a model that runs one task at a time.
    """

    def __init__(
        self, model: MultiTaskModel, criterion: Criterion, adversary: Adversary | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.adversary = adversary

    def forward(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        tasks: Sequence[str] | None = None,
        reversal: float = 0.0,
    ) -> Losses:
        """Losses of a batch.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], not normalized.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)`` boolean.
            tasks: The only tasks of this step, which the model must be able to run alone; None:
                all of them.
            reversal: Strength of the adversary's gradient reversal.
        """
        images = self.model.normalize(images)
        if self.adversary is not None and tasks is not None:
            return self._judged(self.adversary, images, targets, valid, tasks[0], reversal)
        predictions = self.model(images) if tasks is None else self.model(images, tasks)
        total, losses = self.criterion(predictions, targets, valid)
        return {"total": total, "final": losses.final, "initial": losses.initial}

    def _judged(
        self,
        adversary: Adversary,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        task: str,
        reversal: float,
    ) -> Losses:
        """Losses of one task, with its gradient at the model's interface before the adversary."""
        assert isinstance(self.model, SingleTaskingModel)
        maps = self.model.interface(images, [task])[task]
        with torch.autocast(images.device.type, enabled=False):  # gradients of 1e-7 are judged
            maps = [full_precision(each) for each in maps]
            output = self.model.output(maps, task, images.shape[-2:])
            loss, losses = self.criterion(Predictions({task: output}), targets, valid)
            total, judgment = adversary(loss, maps[-1], task, valid[task], reversal)
        return {
            "total": total,
            "final": losses.final,
            "initial": {},
            "adversarial": {task: judgment},
        }
