"""Concatenation, the simplest exchange of features between tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.distillation.base import Distillation, register_distillation
from taskprism.layers.containers import ModuleDict


@register_distillation
class Concat(Distillation):
    """Linear map of the concatenated features of all sources.

    "Concat" in table 4 of Sinodinos and Armanfard, "Cross-Task Affinity Learning":

    .. math:: F_t' = W_t [F_1; ...; F_N] + b_t

    The paper passes the concatenation to each task's decoder and does not describe its layers.
    Here decoders keep their input width, so the linear map W (1x1, one per task) that would be
    part of the decoder's first convolution is part of this module.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read, in order of concatenation.

    Example:
        >>> import torch
        >>> from taskprism.distillation import Concat
        >>> module = Concat(["depth"], channels=8, sources=["depth", "edge"])
        >>> features = {"depth": torch.rand(1, 8, 6, 5), "edge": torch.rand(1, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([1, 8, 6, 5])
    """

    name: ClassVar[str] = "concat"

    def __init__(
        self, tasks: Sequence[str], channels: int, sources: Sequence[str] | None = None
    ) -> None:
        super().__init__(tasks, channels, sources)
        stacked = len(self.sources) * channels
        self.reduce = ModuleDict(
            {task: nn.Conv2d(stacked, channels, kernel_size=1) for task in self.tasks}
        )

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        stacked = torch.cat([features[source] for source in self.sources], dim=1)
        return {task: reduce(stacked) for task, reduce in self.reduce.items()}
