"""DenseMTL: the decoders of all tasks exchange features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from taskprism.backbones import Backbone
from taskprism.distillation import Distillation, create_distillation
from taskprism.errors import InputError
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.predictions import Predictions
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task

# Channels of the decoder's maps / channels of its final one, from the final one to the deepest;
# published as 64, 128, 128, 256, 256 channels. Still deeper maps have the last factor.
_WIDTHS = (1, 2, 2, 4, 4)
_RATES = (6, 12, 18)  # dilations of the atrous pyramid


@register_model
class DenseMTL(MultiTaskModel):
    """DenseMTL (Lopes et al., WACV 2023): cross-task attention between the tasks' decoders.

    One :class:`DenseMTLDecoder` per task; one cross-task block (xTAM) on the features at the finest
    stride of the backbone, where initial predictions are made; a last stage at full resolution. The
    published network is ``backbone="resnet101", neck="none", output_stride=16, finest_stride=2``.
    Its images are normalized to (x - 0.45) / 0.225; here the statistics of the backbone's weights
    are used.

    ``create_model("mti_net", distillation="xtam")`` uses the block of the paper in another network;
    ``"pad_net"`` works too.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that are decoded up to the cross-task block, and read there.
        backbone: Shared by all tasks, with at least two maps.
        channels: Channels of the last stage; the others have 2 or 4 times as many.
        distillation: A name of :func:`taskprism.distillation.list_distillations`,
            ``"module:Class"``, or a subclass of :class:`taskprism.distillation.Distillation`.
        distillation_options: Options of the distillation.
        size: ``(H, W)`` of the input image; only for distillations that are built for one size.

    Raises:
        InputError: The backbone has only one map.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("dense_mtl", ["depth", "edge"], backbone="test_resnet", channels=4)
        >>> model.decoders["depth"].stages[0].merge[0].out_channels
        16
    """

    name: ClassVar[str] = "dense_mtl"
    depends_on_task_order: ClassVar[bool] = True
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels = 64,
        distillation: str | type[Distillation] = "xtam",
        distillation_options: Mapping[str, Any] | None = None,
        size: Size | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        count = len(backbone.channels)
        if count < 2:
            raise InputError(
                "dense_mtl needs a backbone with at least two maps, but this one has one; use "
                'neck="none" or "fpn".'
            )
        self.backbone = backbone
        widths = [channels * _WIDTHS[min(stage, len(_WIDTHS) - 1)] for stage in range(1, count)]
        self.decoders = nn.ModuleDict(
            {task.name: DenseMTLDecoder(backbone.channels, widths) for task in self.all_tasks}
        )
        self.initial_heads = nn.ModuleDict(
            {t.name: nn.Conv2d(widths[0], t.channels, kernel_size=1) for t in self.all_tasks}
        )
        self.distillation = create_distillation(
            distillation,
            [task.name for task in self.tasks],
            widths[0],
            sources=[task.name for task in self.all_tasks],
            size=backbone.feature_sizes(size)[0] if size else None,
            stride=backbone.strides[0],
            **(distillation_options or {}),
        )
        self._fit_size(size, self.distillation)
        self.heads = nn.ModuleDict(
            {t.name: FullResolutionHead(widths[0], channels, t.channels) for t in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Decode every task, predict initially, exchange, predict at full resolution."""
        maps = self.backbone(images)
        features = {task: decoder(maps) for task, decoder in self.decoders.items()}
        initial = {task: head(features[task]) for task, head in self.initial_heads.items()}
        refined = self.distillation(features, initial)
        size = images.shape[-2:]
        return Predictions(
            {task: head(refined[task], size) for task, head in self.heads.items()}, [initial]
        )


class DenseMTLDecoder(nn.Module):
    """Atrous pyramid on the deepest map, then a stage for each finer map of the backbone.

    The decoder of Monodepth2 (Godard et al., ICCV 2019) with an atrous pyramid (torchvision's,
    dropout 0.5) in place of its first convolution. Training needs batches of at least 2 images.

    Args:
        in_channels: Channels of the backbone's maps, finest first.
        widths: Channels of the decoder's maps at the same strides; the last one is not used.

    Example:
        >>> import torch
        >>> from taskprism.models.dense_mtl import DenseMTLDecoder
        >>> decoder = DenseMTLDecoder(in_channels=(4, 8), widths=(4, 8)).eval()
        >>> tuple(decoder([torch.rand(1, 4, 16, 24), torch.rand(1, 8, 8, 12)]).shape)
        (1, 4, 16, 24)
    """

    def __init__(self, in_channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        deepest = len(in_channels) - 2
        self.pyramid = ASPP(in_channels[-1], list(_RATES), widths[deepest])
        self.stages = nn.ModuleList(
            DecoderStage(
                None if place == deepest else widths[place + 1], in_channels[place], widths[place]
            )
            for place in range(deepest, -1, -1)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps ``(B, in_channels[i], H_i, W_i)``, finest first -> ``(B, widths[0], H_0, W_0)``."""
        x = self.pyramid(maps[-1])
        for stage, skip in zip(self.stages, reversed(maps[:-1]), strict=True):
            x = stage(x, skip)
        return x


class DecoderStage(nn.Module):
    """Convolution, nearest upsampling to the size of the skip map, concatenation, convolution.

    Args:
        in_channels: Channels of the input from the deeper stage. None: it has ``out_channels``
            already, and the first convolution is left out.
        skip_channels: Channels of the skip map, which comes from the backbone.
        out_channels: Channels of the result.

    Example:
        >>> import torch
        >>> from taskprism.models.dense_mtl import DecoderStage
        >>> stage = DecoderStage(in_channels=8, skip_channels=4, out_channels=6)
        >>> tuple(stage(torch.rand(1, 8, 8, 12), torch.rand(1, 4, 15, 23)).shape)
        (1, 6, 15, 23)
    """

    def __init__(self, in_channels: int | None, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.narrow = None if in_channels is None else convolution(in_channels, out_channels)
        self.merge = convolution(out_channels + skip_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(B, in, h, w)`` and ``(B, skip, H, W)`` -> ``(B, out, H, W)``."""
        if self.narrow is not None:
            x = self.narrow(x)
        x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
        return self.merge(torch.cat([x, skip], dim=1))


class FullResolutionHead(nn.Module):
    """The last stage, without a skip map: upsampling to the size of the image, and prediction.

    Example:
        >>> import torch
        >>> from taskprism.models.dense_mtl import FullResolutionHead
        >>> head = FullResolutionHead(in_channels=8, channels=4, out_channels=3)
        >>> tuple(head(torch.rand(1, 8, 16, 24), size=(31, 47)).shape)
        (1, 3, 31, 47)
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.narrow = convolution(in_channels, channels)
        self.refine = convolution(channels, channels)
        self.predict = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """``(B, in, h, w) -> (B, out, *size)``."""
        height, width = size
        x = F.interpolate(self.narrow(x), size=(height, width), mode="nearest")
        return self.predict(self.refine(x))


def convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution with bias and reflection padding, ELU: ``(B, in, H, W) -> (B, out, H, W)``.

    Example:
        >>> import torch
        >>> from taskprism.models.dense_mtl import convolution
        >>> tuple(convolution(3, 8)(torch.rand(1, 3, 5, 7)).shape)
        (1, 8, 5, 7)
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, padding_mode="reflect"),
        nn.ELU(inplace=True),
    )
