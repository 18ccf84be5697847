"""PAD-Net's cross-task module: features of every other task, gated by attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.distillation.base import Distillation, register_distillation
from taskprism.layers.containers import ModuleDict


@register_distillation
class SpatialAttention(Distillation):
    r"""Attention-guided message passing of PAD-Net (Xu et al., CVPR 2018).

    In the form of equation 1 of MTI-Net (Vandenhende et al., ECCV 2020):

    .. math:: F_k' = F_k + \sum_{l \ne k} \sigma(A_{kl} * F_l) \odot (B_{kl} * F_l)

    with 3x3 convolutions A and B without bias, one pair of them for each ordered pair of task k and
    source l. A task without another source keeps its features.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read (main and auxiliary).

    Example:
        >>> import torch
        >>> from taskprism.distillation import SpatialAttention
        >>> module = SpatialAttention(["depth"], channels=8, sources=["depth", "edge"])
        >>> features = {"depth": torch.rand(1, 8, 6, 5), "edge": torch.rand(1, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([1, 8, 6, 5])
    """

    name: ClassVar[str] = "spatial_attention"

    def __init__(
        self, tasks: Sequence[str], channels: int, sources: Sequence[str] | None = None
    ) -> None:
        super().__init__(tasks, channels, sources)
        self.messages = ModuleDict(
            {
                task: ModuleDict(
                    {source: GatedMessage(channels) for source in self.sources if source != task}
                )
                for task in self.tasks
            }
        )

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, channels, H, W)`` per source into the same per task."""
        refined = {}
        for task, messages in self.messages.items():
            total = features[task]
            for source, message in messages.items():
                total = total + message(features[source])
            refined[task] = total
        return refined


class GatedMessage(nn.Module):
    """Message from one task to another: ``sigmoid(A * x) * (B * x)``, A and B 3x3 convolutions.

    ``(B, channels, H, W) -> (B, out_channels, H, W)``.

    Args:
        channels: Channels of the source's features.
        out_channels: Channels of the message; by default ``channels``.
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        out = channels if out_channels is None else out_channels
        self.attention = nn.Conv2d(channels, out, kernel_size=3, padding=1, bias=False)
        self.value = nn.Conv2d(channels, out, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate the projected features by their attention."""
        return torch.sigmoid(self.attention(x)) * self.value(x)
