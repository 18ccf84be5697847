"""Cross-stitch networks: learned linear mixtures of the features of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.layers import ModuleDict
from taskprism.models.base import register_model
from taskprism.models.encoder_sharing import ExchangingModel


@register_model
class CrossStitch(ExchangingModel):
    """Cross-stitch network (Misra et al., CVPR 2016) on a ResNet.

    There is one encoder per task, and a :class:`CrossStitchUnit` after each of the four stages. As
    published, single-task networks are trained first (``from_single_task``), with the DeepLab-v3
    head on an encoder of output stride 8; then the whole network is trained with SGD, the units 100
    times as fast. Initial values and rate are those of Vandenhende et al., "Multi-Task Learning for
    Dense Prediction Tasks: A Survey", 2021, for NYUD-v2; for PASCAL they are
    ``alpha=0.8, beta=0.05``.

    The arguments are those of :class:`ExchangingModel`.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("cross_stitch", ["depth", "edge"], backbone="test_resnet")
        >>> list(model.units)
        ['layer1', 'layer2', 'layer3', 'layer4']
    """

    name: ClassVar[str] = "cross_stitch"

    @staticmethod
    def make_unit(tasks: Sequence[str], channels: int, alpha: float, beta: float) -> nn.Module:
        """Create a :class:`CrossStitchUnit`."""
        return CrossStitchUnit(tasks, channels, alpha, beta)


class CrossStitchUnit(nn.Module):
    r"""The features of each task become a mixture over all tasks: :math:`x_k' = \sum_l a_{kl} x_l`.

    The paper has one number a per pair of tasks, or one per pair and channel; this is the second.

    Args:
        tasks: Names of the tasks.
        channels: Channels of the features of every task.
        alpha: Initial value of a for a task and itself.
        beta: Initial value of a for two different tasks.

    Example:
        >>> import torch
        >>> from taskprism.models.cross_stitch import CrossStitchUnit
        >>> unit = CrossStitchUnit(["depth", "edge"], channels=4)
        >>> features = {"depth": torch.ones(1, 4, 2, 2), "edge": torch.zeros(1, 4, 2, 2)}
        >>> round(unit(features)["edge"].mean().item(), 3)
        0.1
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, alpha: float = 0.9, beta: float = 0.1
    ) -> None:
        super().__init__()
        self.shares = ModuleDict(
            {
                task: ModuleDict(
                    {
                        source: ChannelScale(channels, alpha if source == task else beta)
                        for source in tasks
                    }
                )
                for task in tasks
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mix ``(B, C, H, W)`` per task; the result has the same names and shapes."""
        mixed: dict[str, Tensor] = {}
        for task, shares in self.shares.items():
            parts = [scale(features[source]) for source, scale in shares.items()]
            mixed[task] = torch.stack(parts).sum(0)
        return mixed


class ChannelScale(nn.Module):
    """Multiply each channel by a learned factor: ``(B, C, H, W) -> (B, C, H, W)``."""

    def __init__(self, channels: int, initial: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Scale."""
        return x * self.weight.view(1, -1, 1, 1)
