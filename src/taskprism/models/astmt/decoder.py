"""ASTMT's decoder: DeepLab-v3+ with layers per task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from taskprism.layers import resize
from taskprism.layers.modulation import AdaptedConvolution, Modulation

_RATES = (6, 12, 18)  # dilation of the atrous branches at output stride 16
_LOW_LEVEL_SHARE = 48 / 256  # DeepLab-v3+'s own proportion of low-level to other channels
_LOW_LEVEL_REDUCTION = 4  # of 12 channels, 16 would leave no hidden unit


@dataclass(frozen=True)
class DecoderStyle:
    """What differs between the decoders of SE-ResNet and of MobileNet.

    Attributes:
        activation: After every batch norm, and within squeeze-and-excitation.
        reduction: Of squeeze-and-excitation.
        grouped: Convolutions have as many groups as their channels allow, except the 1x1 branch
            (the paper calls them depth-wise).
        low_level_first: Order in which the low-level map is concatenated.
        squeezes_pooled: Whether the pooled branch has squeeze-and-excitation.
    """

    activation: Callable[[], nn.Module]
    reduction: int
    grouped: bool
    low_level_first: bool
    squeezes_pooled: bool


RESNET_STYLE = DecoderStyle(
    activation=nn.ReLU, reduction=16, grouped=False, low_level_first=False, squeezes_pooled=True
)
MOBILENET_STYLE = DecoderStyle(
    activation=nn.ReLU6, reduction=4, grouped=True, low_level_first=True, squeezes_pooled=False
)


class DecoderUnit(nn.Module):
    """Convolution with adapter, batch norm, activation, then squeeze-and-excitation.

    Args:
        convolution: Without bias; keeps the map's size.
        modulation: Which layers every task has for itself. Without ``squeeze`` there is no
            squeeze-and-excitation at all: a decoder's is never shared.
        activation: Also within squeeze-and-excitation.
        reduction: Of squeeze-and-excitation.
    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        modulation: Modulation,
        activation: Callable[[], nn.Module],
        reduction: int,
    ) -> None:
        super().__init__()
        channels = convolution.out_channels
        self.conv = AdaptedConvolution(convolution, modulation)
        self.bn = modulation.batch_norm(channels)
        self.activation = activation()
        self.se = None
        if modulation.squeeze:
            self.se = modulation.squeeze_excitation(channels, reduction, activation)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """``(B, in, H, W) -> (B, out, H, W)``."""
        x = self.activation(self.bn(self.conv(x, task), task))
        return x if self.se is None else self.se(x, task)


class DeepLabDecoder(nn.Module):
    """DeepLab-v3+ (Chen et al., ECCV 2018) as released with ASTMT, without dropout.

    Atrous pyramid on the high-level map; its result, upsampled, joins a reduced low-level map;
    two 3x3 convolutions. Training needs batches of at least 2 images: the pooled branch normalizes
    one value per image and channel.

    Args:
        in_channels: Of the low-level and the high-level map.
        channels: Of every unit; those of the low-level one are 48/256 of it.
        modulation: Which layers every task has for itself.
        output_stride: Of the high-level map; at 8 the atrous branches dilate twice as much.
        style: Of SE-ResNet or MobileNet.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        modulation: Modulation,
        output_stride: int = 16,
        style: DecoderStyle = RESNET_STYLE,
    ) -> None:
        super().__init__()
        low, high = in_channels
        reduced = round(channels * _LOW_LEVEL_SHARE)
        self.style = style
        self.modulation = modulation

        def unit(convolution: nn.Conv2d, reduction: int = style.reduction) -> DecoderUnit:
            return DecoderUnit(convolution, modulation, style.activation, reduction)

        def convolution(entering: int, leaving: int, kernel: int, rate: int = 1) -> nn.Conv2d:
            groups = math.gcd(entering, leaving) if style.grouped else 1
            padding = rate * (kernel // 2)
            return nn.Conv2d(entering, leaving, kernel, 1, padding, rate, groups=groups, bias=False)

        self.branches = nn.ModuleList([unit(nn.Conv2d(high, channels, 1, bias=False))])
        for rate in _RATES:
            dilation = rate * 16 // output_stride
            self.branches.append(unit(convolution(high, channels, 3, dilation)))
        self.pooled = DecoderUnit(
            convolution(high, channels, 1),
            replace(
                modulation, adapters=False, squeeze=modulation.squeeze and style.squeezes_pooled
            ),
            style.activation,
            style.reduction,
        )
        self.pyramid = unit(convolution(5 * channels, channels, 1))
        self.low_level = unit(convolution(low, reduced, 1), _LOW_LEVEL_REDUCTION)
        self.fuse = unit(convolution(channels + reduced, channels, 3))
        self.refine = unit(convolution(channels, channels, 3))

    def forward(self, maps: Sequence[Tensor], task: str | None = None) -> Tensor:
        """Features ``(B, channels, H, W)`` of the low-level map's size.

        Args:
            maps: Low-level ``(B, low, H, W)`` and high-level ``(B, high, h, w)``.
            task: May be None only if nothing depends on the task.
        """
        low, high = maps
        seen = [branch(high, task) for branch in self.branches]
        pooled = self.pooled(high.mean(dim=(2, 3), keepdim=True), task)
        seen.append(resize(pooled, high.shape[-2:]))
        pyramid = resize(self.pyramid(torch.cat(seen, dim=1), task), low.shape[-2:])
        reduced = self.low_level(low, task)
        both = [reduced, pyramid] if self.style.low_level_first else [pyramid, reduced]
        return self.refine(self.fuse(torch.cat(both, dim=1), task), task)
