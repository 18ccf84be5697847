"""Final heads: maps, finest first -> raw output of one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead as _DeepLabHead

from taskprism.errors import UnknownNameError
from taskprism.layers.aggregation import Aggregation, create_aggregation
from taskprism.layers.residual import bottleneck

HeadName = Literal["auto", "high_resolution", "panoptic", "deeplab", "bottleneck"]
HEADS: list[HeadName] = ["auto", "high_resolution", "panoptic", "deeplab", "bottleneck"]


class AggregationHead(nn.Module):
    """An aggregation and a 1x1 convolution: ``(B, channels[i], ...)`` -> ``(B, out, H_0, W_0)``."""

    def __init__(self, aggregation: Aggregation, out_channels: int) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.predict = nn.Conv2d(aggregation.out_channels, out_channels, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict at the finest map's size."""
        return self.predict(self.aggregation(maps))


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid on the coarsest map (torchvision's DeepLab-v3 head, dropout 0.5).

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017. Meant for a
    backbone with ``output_stride=8``. Training needs batches of at least 2 images: the image
    pooling branch normalizes one value per image.
    """

    def __init__(
        self, in_channels: int, out_channels: int, rates: tuple[int, int, int] = (12, 24, 36)
    ) -> None:
        super().__init__()
        self.layers = _DeepLabHead(in_channels, out_channels, rates)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict at the coarsest map's size."""
        return self.layers(maps[-1])


class BottleneckHead(nn.Sequential):
    """Two bottlenecks and a 1x1 convolution, on the finest map (PAD-Net's final head)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(
            bottleneck(channels, channels),
            bottleneck(channels, channels),
            nn.Conv2d(channels, out_channels, kernel_size=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # pyrefly: ignore[bad-override]
        """Predict at the finest map's size."""
        return super().forward(maps[0])


def create_head(channels: Sequence[int], out_channels: int, kind: HeadName = "auto") -> nn.Module:
    """Head that reads a list of maps, finest first.

    Args:
        channels: Channels of each map.
        out_channels: Channels of the output.
        kind: ``"high_resolution"``, ``"panoptic"`` or ``"auto"`` as in
            :func:`~taskprism.layers.aggregation.create_aggregation`; ``"deeplab"`` reads the
            coarsest map only, ``"bottleneck"`` the finest.
    """
    if kind not in HEADS:
        raise UnknownNameError("head", kind, HEADS)
    if kind == "deeplab":
        return DeepLabHead(channels[-1], out_channels)
    if kind == "bottleneck":
        return BottleneckHead(channels[0], out_channels)
    return AggregationHead(create_aggregation(channels, kind), out_channels)
