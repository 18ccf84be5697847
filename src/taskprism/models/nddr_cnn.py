"""NDDR-CNN: the features of all tasks, concatenated and reduced for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.layers import ModuleDict
from taskprism.models.base import register_model
from taskprism.models.encoder_sharing import ExchangingModel

_MOMENTUM = 0.05


@register_model
class NDDRCNN(ExchangingModel):
    """Neural discriminative dimensionality reduction (Gao et al., "NDDR-CNN", CVPR 2019).

    There is one encoder per task, and an :class:`NDDRLayer` after the stem and after each of the
    four stages. As published, single-task networks are trained first (``from_single_task``), with
    the DeepLab-v3 head on an encoder of output stride 8; then the whole network is trained with
    SGD, the layers 100 times as fast.

    The arguments are those of :class:`ExchangingModel`.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("nddr_cnn", ["depth", "edge"], backbone="test_resnet")
        >>> list(model.units)
        ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    """

    name: ClassVar[str] = "nddr_cnn"
    exchanges_stem: ClassVar[bool] = True
    depends_on_task_order: ClassVar[bool] = True

    @staticmethod
    def make_unit(tasks: Sequence[str], channels: int, alpha: float, beta: float) -> nn.Module:
        """Create an :class:`NDDRLayer`."""
        return NDDRLayer(tasks, channels, alpha, beta)


class NDDRLayer(nn.Module):
    """Concatenation of all tasks' features, then for each task 1x1 convolution, BN and ReLU.

    Args:
        tasks: Names of the tasks, in the order of concatenation.
        channels: Channels of the features of every task.
        alpha: Initial weight from a channel of the task's own features to the same channel.
        beta: Initial weight from a channel of another task's features to the same channel. All
            other weights start at 0.

    Example:
        >>> import torch
        >>> from taskprism.models.nddr_cnn import NDDRLayer
        >>> layer = NDDRLayer(["depth", "edge"], channels=4)
        >>> features = {task: torch.rand(2, 4, 8, 8) for task in ("depth", "edge")}
        >>> tuple(layer(features)["depth"].shape)
        (2, 4, 8, 8)
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, alpha: float = 0.9, beta: float = 0.1
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        reduce: dict[str, nn.Sequential] = {}
        for task in self.tasks:
            mix = nn.Conv2d(len(self.tasks) * channels, channels, kernel_size=1, bias=False)
            shares = [alpha if source == task else beta for source in self.tasks]
            initial = torch.cat([share * torch.eye(channels) for share in shares], dim=1)
            with torch.no_grad():
                mix.weight.copy_(initial[:, :, None, None])
            norm = nn.BatchNorm2d(channels, momentum=_MOMENTUM)
            reduce[task] = nn.Sequential(mix, norm, nn.ReLU())
        self.reduce = ModuleDict(reduce)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reduce ``(B, C, H, W)`` of all tasks; the result has the same names and shapes."""
        stacked = torch.cat([features[task] for task in self.tasks], dim=1)
        return {task: layers(stacked) for task, layers in self.reduce.items()}
