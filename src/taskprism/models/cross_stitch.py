"""Cross-stitch networks: learnt linear mixtures of the features of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.models.base import register_model
from taskprism.models.encoder_sharing import ExchangingModel


@register_model
class CrossStitch(ExchangingModel):
    """Cross-stitch network (Misra et al., CVPR 2016) on a ResNet.

    One encoder per task; after each of the four stages a :class:`CrossStitchUnit`. As published,
    the single-task networks are trained first (``from_single_task``), with the DeepLab-v3 head on
    an encoder of output stride 8; then all of it with SGD, the units a hundred times as fast. Start
    and rate are those of the comparison in the multi-task literature (Vandenhende et al.,
    "Multi-Task Learning for Dense Prediction Tasks: A Survey", 2021), on NYUD-v2; on PASCAL it has
    ``alpha=0.8, beta=0.05``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: None; there is no front end.
        backbone: Encoder of the first task; the others get copies.
        alpha: What a unit first takes of the task's own features.
        beta: What it first takes of every other task's.
        head: See :func:`taskprism.layers.create_head`.
        unit_lr_factor: Learning rate of the units / that of the rest, with SGD.
    """

    name: ClassVar[str] = "cross_stitch"

    @staticmethod
    def make_unit(tasks: Sequence[str], channels: int, alpha: float, beta: float) -> nn.Module:
        """A :class:`CrossStitchUnit`."""
        return CrossStitchUnit(tasks, channels, alpha, beta)


class CrossStitchUnit(nn.Module):
    r"""Every task's features become a mixture of all tasks': :math:`x_k' = \sum_l a_{kl} x_l`.

    The paper has one number a per pair of tasks, or one per channel; this is the second.

    Args:
        tasks: Names of the tasks.
        channels: Of every task's features.
        alpha: First value of a for a task and itself.
        beta: First value of a for two tasks.
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, alpha: float = 0.9, beta: float = 0.1
    ) -> None:
        super().__init__()
        self.shares = nn.ModuleDict(
            {
                task: nn.ModuleDict(
                    {
                        source: ChannelScale(channels, alpha if source == task else beta)
                        for source in tasks
                    }
                )
                for task in tasks
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mix ``(B, C, H, W)`` per task into the same."""
        mixed: dict[str, Tensor] = {}
        for task, shares in self.shares.items():
            parts = [scale(features[source]) for source, scale in shares.items()]  # pyrefly: ignore[not-callable]
            mixed[task] = torch.stack(parts).sum(0)
        return mixed


class ChannelScale(nn.Module):
    """A factor per channel: ``(B, C, H, W) -> (B, C, H, W)``."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        """Scale."""
        return x * self.weight.view(1, -1, 1, 1)
