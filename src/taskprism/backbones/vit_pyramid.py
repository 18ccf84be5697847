"""A pyramid for plain vision transformers, whose maps all have one stride."""

from __future__ import annotations

import math

from timm.layers import LayerNorm2d
from torch import Tensor, nn

from taskprism.backbones.base import Backbone, Neck
from taskprism.layers.resize import resize


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
