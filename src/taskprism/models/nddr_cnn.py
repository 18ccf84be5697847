"""NDDR-CNN: the features of all tasks, concatenated and reduced for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.models.base import register_model
from taskprism.models.encoder_sharing import ExchangingModel

_MOMENTUM = 0.05


@register_model
class NDDRCNN(ExchangingModel):
    """Neural discriminative dimensionality reduction (Gao et al., "NDDR-CNN", CVPR 2019).

    One encoder per task; after the stem and after each of the four stages an :class:`NDDRLayer`. As
    published, the single-task networks are trained first (``from_single_task``), with the
    DeepLab-v3 head on an encoder of output stride 8; then all of it with SGD, the layers a hundred
    times as fast.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: None; there is no front end.
        backbone: Encoder of the first task; the others get copies.
        alpha: What a layer first takes of the task's own features.
        beta: What it first takes of every other task's.
        head: See :func:`taskprism.layers.create_head`.
        unit_lr_factor: Learning rate of the layers / that of the rest, with SGD.
    """

    name: ClassVar[str] = "nddr_cnn"
    exchanges_stem: ClassVar[bool] = True
    depends_on_task_order: ClassVar[bool] = True

    @staticmethod
    def make_unit(tasks: Sequence[str], channels: int, alpha: float, beta: float) -> nn.Module:
        """A :class:`NDDRLayer`."""
        return NDDRLayer(tasks, channels, alpha, beta)


class NDDRLayer(nn.Module):
    """Concatenation of all tasks' features, then for each task 1x1 convolution, BN and ReLU.

    Args:
        tasks: Names of the tasks, in order of concatenation.
        channels: C, of every task's features.
        alpha: First weight from a channel of the task's own features to the same channel.
        beta: First weight from a channel of another task's features to the same channel. All other
            weights start at 0.
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, alpha: float = 0.9, beta: float = 0.1
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.reduce = nn.ModuleDict(
            {
                task: nn.Sequential(
                    nn.Conv2d(len(self.tasks) * channels, channels, kernel_size=1, bias=False),
                    nn.BatchNorm2d(channels, momentum=_MOMENTUM),
                    nn.ReLU(),
                )
                for task in self.tasks
            }
        )
        for task, layers in self.reduce.items():
            shares = [alpha if source == task else beta for source in self.tasks]
            start = torch.cat([share * torch.eye(channels) for share in shares], dim=1)
            with torch.no_grad():
                layers[0].weight.copy_(start[:, :, None, None])  # pyrefly: ignore[bad-index]

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reduce ``(B, C, H, W)`` of all tasks to the same per task."""
        stacked = torch.cat([features[task] for task in self.tasks], dim=1)
        return {task: layers(stacked) for task, layers in self.reduce.items()}
