"""Necks: what stands between a trunk's maps and the heads."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor
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
