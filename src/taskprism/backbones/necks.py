"""Necks: modules between the maps of a trunk and the heads."""

from __future__ import annotations

import math
from collections import OrderedDict

from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import FeaturePyramidNetwork

from taskprism.backbones.base import Backbone, Neck
from taskprism.layers.aggregation import HighResolutionFusion
from taskprism.layers.resize import resize


class FeaturePyramid(Neck):
    """Every map with the same channels, informed by all coarser ones.

    Lin et al., "Feature Pyramid Networks for Object Detection", 2017 (torchvision's own).

    Args:
        trunk: Backbone with several maps.
        channels: Channels of every map.
    """

    def __init__(self, trunk: Backbone, channels: int = 256) -> None:
        super().__init__(trunk, (channels,) * len(trunk.channels), trunk.strides)
        self.pyramid = FeaturePyramidNetwork(list(trunk.channels), channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Top-down pathway with lateral connections."""
        named = OrderedDict((str(index), each) for index, each in enumerate(maps))
        return list(self.pyramid(named).values())


class Fused(Neck):
    """All maps fused into one at the finest size; its channels are the sum of all.

    See :class:`~taskprism.layers.aggregation.HighResolutionFusion`.
    """

    def __init__(self, trunk: Backbone) -> None:
        super().__init__(trunk, (sum(trunk.channels),), trunk.strides[:1])
        self.fusion = HighResolutionFusion(trunk.channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Upsample, concatenate, mix."""
        return [self.fusion(maps)]


class Deepest(Neck):
    """The deepest map alone, at another stride if wanted (bilinear).

    What heads made for one map read when a transformer takes the place of a dilated network.

    Args:
        trunk: Backbone.
        stride: Of the result; by default the map's own.
    """

    def __init__(self, trunk: Backbone, stride: int | None = None) -> None:
        super().__init__(trunk, trunk.channels[-1:], (stride or trunk.strides[-1],))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The trunk's last map at ``ceil(size / stride)``."""
        height, width = images.shape[-2:]
        size = self.feature_sizes((height, width))[0]
        return [resize(each, size) for each in super().forward(images)]

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Deepest map only, at its own size."""
        return maps[-1:]


class AtrousPyramid(Neck):
    """The deepest map, seen at several dilations at once; one map comes out.

    ASPP of Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017
    (torchvision's own, dropout 0.5). Training needs batches of at least 2 images.

    Args:
        trunk: Backbone, usually with ``output_stride=8`` or 16.
        channels: Channels of the result.
        rates: Dilations.
    """

    def __init__(
        self, trunk: Backbone, channels: int = 256, rates: tuple[int, int, int] = (12, 24, 36)
    ) -> None:
        super().__init__(trunk, (channels,), trunk.strides[-1:])
        self.pyramid = ASPP(trunk.channels[-1], list(rates), channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Deepest map only."""
        return [self.pyramid(maps[-1])]


class ViTPyramid(Neck):
    """Maps at strides 4, 8, 16 and 32 from the one resolution of a plain transformer's last map.

    The simple feature pyramid of Li et al., "Exploring Plain Vision Transformer Backbones for
    Object Detection", 2022: the last map, doubled or halved as often as needed, each result
    followed by 1x1 and 3x3 convolutions with layer norm over channels. Patches of 14 pixels, for
    which no number of doublings gives these strides, are resampled to them.

    Args:
        trunk: Backbone of which the last map is read.
        channels: Channels of every map.
    """

    def __init__(self, trunk: Backbone, channels: int = 256) -> None:
        super().__init__(trunk, (channels,) * 4, (4, 8, 16, 32))
        self.patch = trunk.strides[-1]
        self.levels = nn.ModuleList(
            _level(trunk.channels[-1], channels, round(math.log2(self.patch / stride)))
            for stride in self.strides
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Pyramid of the trunk's last map, cropped to the image where patches reach beyond it."""
        last = self.trunk(images)[-1]
        height, width = images.shape[-2:]
        maps = []
        for level, stride, (rows, columns) in zip(
            self.levels, self.strides, self.feature_sizes((height, width)), strict=True
        ):
            # The tokens cover whole patches, so this grid may reach beyond the image.
            grid = [-(-tokens * self.patch // stride) for tokens in last.shape[-2:]]
            maps.append(resize(level(last), grid)[:, :, :rows, :columns].contiguous())
        return maps

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """The pyramid without cropping, as the image's size is not known here."""
        return [level(maps[-1]) for level in self.levels]


def _level(in_channels: int, out_channels: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = in_channels
    for step in range(doublings):
        narrower = max(1, width // 2)
        if step:
            layers += [LayerNorm2d(width), nn.GELU()]
        layers.append(nn.ConvTranspose2d(width, narrower, kernel_size=2, stride=2))
        width = narrower
    if doublings < 0:
        layers.append(nn.MaxPool2d(kernel_size=2**-doublings, ceil_mode=True))
    return nn.Sequential(
        *layers,
        nn.Conv2d(width, out_channels, kernel_size=1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )
