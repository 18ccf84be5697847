"""MTAN: each task attends to the features of one shared encoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.backbones.residual_stages import STAGES, ResidualStages
from taskprism.layers import ModuleDict, ModuleList, bottleneck, create_head, resize
from taskprism.layers.heads import HeadLike
from taskprism.models.base import register_model
from taskprism.models.encoder_sharing import EncoderSharingModel
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task

_REDUCTION = 4


@register_model
class MTAN(EncoderSharingModel):
    """Multi-Task Attention Network (Liu et al., CVPR 2019) on a ResNet.

    The form for ResNets of Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A
    Survey", 2021. In stage s, with u the features before its last block and v those after it:

    1. mask of task k = sigmoid of an attention on u and the features of task k from stage s - 1;
    2. attended features = mask * v;
    3. a bottleneck that all tasks share transforms them for stage s + 1, with pooling where the
       encoder downsamples.

    The heads read the attended features. As published, the DeepLab-v3 head reads those of the last
    stage of an encoder of output stride 8.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: Shared encoder, with at least two blocks in every stage.
        head: See :func:`taskprism.layers.create_head`.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("mtan", ["depth", "edge"], backbone="resnet18", head="panoptic")
        >>> list(model.attention[0])
        ['depth', 'edge']
    """

    name: ClassVar[str] = "mtan"
    least_blocks: ClassVar[int] = 2  # the masks read the features before and after the last one

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: ResidualStages,
        head: HeadLike = "deeplab",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        channels = backbone.channels
        self.attention = ModuleList(
            ModuleDict(
                {task.name: _attention(each * (2 if index else 1), each) for task in self.tasks}
            )
            for index, each in enumerate(channels)
        )
        self.refine = nn.ModuleList(
            bottleneck(here, following) for here, following in itertools.pairwise(channels)
        )
        self.heads = nn.ModuleDict(
            {task.name: create_head(channels, task.channels, head) for task in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Run the encoder once, and the attention of each task at every stage."""
        size = images.shape[-2:]
        x = self.backbone.enter(images)
        received: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        maps: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        for index in range(len(STAGES)):
            *first, last = self.backbone.stage(index)
            for block in first:
                x = block(x)
            before, x = x, last(x)
            for task, attention in self.attention[index].items():
                attended = attention(torch.cat([before, *received[task]], dim=1)) * x
                maps[task].append(attended)
                if index < len(self.refine):
                    received[task] = [self._transform(index, attended)]
        return Predictions(
            {
                task: resize(head(self.backbone.crop(maps[task], size)), size)
                for task, head in self.heads.items()
            }
        )

    def starting_encoders(self) -> dict[str, ResidualStages]:
        """The only encoder, which starts from the network of the first task."""
        return {self.tasks[0].name: self.backbone}

    def _transform(self, index: int, attended: Tensor) -> Tensor:
        refined = self.refine[index](attended)
        step = self.backbone.strides[index + 1] // self.backbone.strides[index]
        return F.max_pool2d(refined, step) if step > 1 else refined


def _attention(in_channels: int, channels: int) -> nn.Sequential:
    """1x1 BN ReLU 1x1 BN sigmoid: ``(B, in, H, W) -> (B, channels, H, W)`` in (0, 1)."""
    hidden = channels // _REDUCTION
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden, kernel_size=1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, channels, kernel_size=1),
        nn.BatchNorm2d(channels),
        nn.Sigmoid(),
    )
