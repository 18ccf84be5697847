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
from taskprism.layers.resize import ceil_divide, resize


class FeaturePyramid(Neck):
    """Feature pyramid: maps with equal channels, each computed from its own and all coarser maps.

    Lin et al., "Feature Pyramid Networks for Object Detection", 2017 (torchvision's).

    Args:
        trunk: Backbone with several maps.
        channels: Channels of every map.

    Example:
        >>> from taskprism.backbones import FeaturePyramid, create_backbone
        >>> FeaturePyramid(create_backbone("test_resnet", neck="none"), channels=16).channels
        (16, 16, 16, 16)
    """

    def __init__(self, trunk: Backbone, channels: int = 256) -> None:
        super().__init__(trunk, (channels,) * len(trunk.channels), trunk.strides)
        self.pyramid = FeaturePyramidNetwork(list(trunk.channels), channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Top-down pathway with lateral connections."""
        named = OrderedDict((str(index), each) for index, each in enumerate(maps))
        return list(self.pyramid(named).values())


class Fused(Neck):
    """All maps fused into one at the finest size; its channels are the sum over all maps.

    See :class:`~taskprism.layers.HighResolutionFusion`.

    Args:
        trunk: Backbone with several maps.

    Example:
        >>> from taskprism.backbones import Fused, create_backbone
        >>> trunk = create_backbone("test_resnet", neck="none")
        >>> Fused(trunk).channels == (sum(trunk.channels),)
        True
    """

    def __init__(self, trunk: Backbone) -> None:
        super().__init__(trunk, (sum(trunk.channels),), trunk.strides[:1])
        self.fusion = HighResolutionFusion(trunk.channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Upsample, concatenate, mix."""
        return [self.fusion(maps)]


class Deepest(Neck):
    """Only the deepest map, optionally resized to another stride (bilinear).

    Heads that read one map use it when a transformer replaces a dilated network.

    Args:
        trunk: Any backbone.
        stride: Stride of the result; by default the map is not resized.

    Example:
        >>> from taskprism.backbones import Deepest, create_backbone
        >>> Deepest(create_backbone("test_resnet", neck="none"), stride=16).strides
        (16,)
    """

    def __init__(self, trunk: Backbone, stride: int | None = None) -> None:
        super().__init__(trunk, trunk.channels[-1:], (stride or trunk.strides[-1],))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The last map of the trunk at ``ceil(size / stride)``."""
        height, width = images.shape[-2:]
        size = self.feature_sizes((height, width))[0]
        return [resize(each, size) for each in super().forward(images)]

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """The deepest map, not resized."""
        return maps[-1:]


class AtrousPyramid(Neck):
    """Convolutions of the deepest map at several dilations, mixed into one map.

    ASPP of Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017
    (torchvision's, dropout 0.5). Training needs batches of at least 2 images.

    Args:
        trunk: Backbone, usually with ``output_stride=8`` or 16.
        channels: Channels of the result.
        rates: Dilations.

    Example:
        >>> from taskprism.backbones import AtrousPyramid, create_backbone
        >>> AtrousPyramid(create_backbone("test_resnet", neck="none"), channels=16).channels
        (16,)
    """

    def __init__(
        self, trunk: Backbone, channels: int = 256, rates: tuple[int, int, int] = (12, 24, 36)
    ) -> None:
        super().__init__(trunk, (channels,), trunk.strides[-1:])
        self.pyramid = ASPP(trunk.channels[-1], list(rates), channels)

    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Atrous pyramid on the deepest map."""
        return [self.pyramid(maps[-1])]


class ViTPyramid(Neck):
    """Maps at strides 4, 8, 16 and 32 from the last map of a plain transformer.

    The simple feature pyramid of Li et al., "Exploring Plain Vision Transformer Backbones for
    Object Detection", 2022: the last map is doubled or halved as often as needed, each time
    followed by 1x1 and 3x3 convolutions with layer norm over channels. With patches of 14 pixels no
    number of doublings gives these strides, so the maps are resampled.

    Args:
        trunk: Backbone whose last map is read.
        channels: Channels of every map.

    Example:
        >>> from taskprism.backbones import ViTPyramid, create_backbone
        >>> ViTPyramid(create_backbone("test_vit", neck="none"), channels=16).strides
        (4, 8, 16, 32)
    """

    def __init__(self, trunk: Backbone, channels: int = 256) -> None:
        super().__init__(trunk, (channels,) * 4, (4, 8, 16, 32))
        self.patch = trunk.strides[-1]
        self.levels = nn.ModuleList(
            _level(trunk.channels[-1], channels, round(math.log2(self.patch / stride)))
            for stride in self.strides
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Pyramid of the last map, cropped to the image where patches extend beyond it."""
        last = self.trunk(images)[-1]
        height, width = images.shape[-2:]
        maps = []
        for level, stride, (rows, columns) in zip(
            self.levels, self.strides, self.feature_sizes((height, width)), strict=True
        ):
            # The tokens cover whole patches, so this grid may extend beyond the image.
            grid = [ceil_divide(tokens * self.patch, stride) for tokens in last.shape[-2:]]
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
