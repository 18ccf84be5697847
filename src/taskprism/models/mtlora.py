"""MTLoRA: a frozen transformer with low-rank updates shared by all tasks and of each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.create import is_own_backbone
from taskprism.backbones.low_rank import Dropout, LowRankVariant, Scale, adapt
from taskprism.backbones.staged import StagedTransformer
from taskprism.errors import InputError
from taskprism.layers import resize
from taskprism.layers.low_rank import Rank, SharedMode
from taskprism.models.base import AnyBackbone, MultiTaskModel, register_model
from taskprism.models.predictions import Predictions
from taskprism.options import Channels
from taskprism.registry import options_of
from taskprism.tasks.base import Task

_LEVEL_CHANNELS = (18, 36, 72, 144)
_RATIO = 4  # hidden channels of the decoder / its input channels


@register_model
class MTLoRA(MultiTaskModel):
    """Multi-Task Low-Rank Adaptation (Agiza et al., "MTLoRA", CVPR 2024), with its decoder.

    The linear layers of a Swin or ViT are frozen. All of them get shared updates of low rank; in
    the last block of each stage the projection and the MLP get updates per task too, so each task
    has its own map of every stage. Per task, 1x1 convolutions reduce the four maps, which are
    concatenated at the size of the finest; two more predict.

    The published network is ``backbone="swin_tiny_patch4_window7_224"``, pretrained on ImageNet,
    with ``drop_path_rate=0.2``, at 448 x 448 pixels. For the updates in any other system see the
    option ``low_rank`` of :func:`taskprism.backbones.create_backbone`. One update of the released
    network, the shared one of the very last layer, never influences its output and is left out.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported.
        backbone: A Swin (version 1) or ViT of timm.
        rank: Rank of the shared updates (published: 16, 32, 64).
        task_rank: Rank of the updates of each task.
        scale: Factor of all updates.
        dropout: Dropout on the input of the updates.
        mode: How shared and own updates are combined, see
            :class:`~taskprism.layers.LowRankLinear`.
        variant: ``"mtlora+"`` adapts the patch merging of Swin too, instead of training it.
        level_channels: Channels to which the four maps are reduced.

    Raises:
        InputError: The backbone is no Swin or ViT, or ``level_channels`` are not four.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("mtlora", ["depth"], backbone="test_vit", rank=2, task_rank=2)
        >>> tuple(model(torch.rand(1, 3, 48, 64))["depth"].shape)
        (1, 1, 48, 64)
    """

    name: ClassVar[str] = "mtlora"
    depends_on_task_order: ClassVar[bool] = False
    backbone_type: ClassVar[type[Backbone]] = StagedTransformer

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: StagedTransformer,
        rank: Rank = 64,
        task_rank: Rank = 4,
        scale: Scale = 4.0,
        dropout: Dropout = 0.05,
        mode: SharedMode = "matrix",
        variant: LowRankVariant = "mtlora",
        level_channels: Sequence[Channels] = _LEVEL_CHANNELS,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        stages = len(backbone.channels)
        if len(level_channels) != stages:
            raise InputError(
                f"mtlora: level_channels={list(level_channels)} must have {stages} values, one per "
                "stage of the backbone."
            )
        names = [task.name for task in self.tasks]
        self.backbone = backbone
        adapt(backbone.model, rank, scale, dropout, variant)
        backbone.split_by_task(names, rank, task_rank, scale, dropout, mode)
        self.heads = nn.ModuleDict(
            {
                task.name: LevelHead(backbone.channels, level_channels, task.channels)
                for task in self.tasks
            }
        )

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        return set(options_of(StagedTransformer)) - {"pretrained"}

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> StagedTransformer:
        if is_own_backbone(backbone):
            raise InputError(
                f"mtlora adapts a Swin or ViT of timm, not {backbone!r}; give its name."
            )
        return StagedTransformer(str(backbone), pretrained, **options)

    def forward(self, images: Tensor) -> Predictions:
        """Maps of every task, and its decoder."""
        maps = self.backbone.task_maps(images)
        size = images.shape[-2:]
        return Predictions(
            {task: resize(head(maps[task]), size) for task, head in self.heads.items()}
        )


class LevelHead(nn.Module):
    """1x1 convolutions reduce the maps, which are concatenated; 1x1, batch norm, ReLU, 1x1.

    The last layers are those of HRNet's head for segmentation.

    Example:
        >>> import torch
        >>> from taskprism.models.mtlora import LevelHead
        >>> head = LevelHead([8, 16], [2, 3], out_channels=5)
        >>> tuple(head([torch.rand(2, 8, 6, 8), torch.rand(2, 16, 3, 4)]).shape)
        (2, 5, 6, 8)
    """

    def __init__(
        self, channels: Sequence[int], level_channels: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Conv2d(width, reduced, kernel_size=1, bias=False)
            for width, reduced in zip(channels, level_channels, strict=True)
        )
        total = sum(level_channels)
        self.predict = nn.Sequential(
            nn.Conv2d(total, _RATIO * total, kernel_size=1),
            nn.BatchNorm2d(_RATIO * total),
            nn.ReLU(inplace=True),
            nn.Conv2d(_RATIO * total, out_channels, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """``(B, channels[i], H_i, W_i)``, finest first -> ``(B, out_channels, H_0, W_0)``."""
        finest = maps[0].shape[-2:]
        reduced = [
            resize(reduce(each), finest) for reduce, each in zip(self.reduce, maps, strict=True)
        ]
        return self.predict(torch.cat(reduced, dim=1))
