"""ASTMT's decoders with layers per task: DeepLab-v3+, Panoptic FPN and UberNet."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from taskprism.layers import AdaptedConvolution, Modulation, ModuleList, resize

_RATES = (6, 12, 18)  # dilation of the atrous branches at output stride 16
_LOW_LEVEL_SHARE = 48 / 256  # low-level channels / other channels in DeepLab-v3+
_LOW_LEVEL_REDUCTION = 4  # a reduction of 16 would leave no hidden unit of 12 channels


@dataclass(frozen=True)
class DecoderStyle:
    """What differs between the decoders for SE-ResNet and for MobileNet.

    Attributes:
        activation: Follows every batch norm, and is used inside squeeze-and-excitation.
        reduction: Channels / hidden units in squeeze-and-excitation.
        grouped: Convolutions have as many groups as their channels allow, except the 1x1 branch
            (the paper calls them depth-wise).
        low_level_first: Whether the low-level map is concatenated first.
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
        convolution: Has no bias and keeps the size of the map.
        modulation: Which layers exist once per task. Without ``squeeze`` there is no
            squeeze-and-excitation at all: in a decoder it is never shared.
        activation: Follows the batch norm, and is used inside squeeze-and-excitation.
        reduction: Channels / hidden units in squeeze-and-excitation.
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

    An atrous pyramid reads the high-level map; its result is upsampled and concatenated with a
    reduced low-level map; two 3x3 convolutions follow. Training needs batches of at least 2 images,
    because the pooled branch normalizes one value per image and channel.

    Args:
        in_channels: Channels of the low-level and the high-level map.
        channels: Channels of every unit; the low-level one has 48/256 as many.
        modulation: Which layers exist once per task.
        output_stride: Stride of the high-level map; at 8 the atrous branches dilate twice as much.
        style: Style for SE-ResNet or MobileNet.

    Example:
        >>> import torch
        >>> from taskprism.models.astmt.decoders import DeepLabDecoder
        >>> from taskprism.layers import Modulation
        >>> shared = Modulation((), squeeze=False, adapters=False, norm=False)
        >>> decoder = DeepLabDecoder((8, 16), channels=32, modulation=shared).eval()
        >>> tuple(decoder([torch.rand(1, 8, 16, 24), torch.rand(1, 16, 4, 6)]).shape)
        (1, 32, 16, 24)
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

        def convolution(inputs: int, outputs: int, kernel: int, rate: int = 1) -> nn.Conv2d:
            groups = math.gcd(inputs, outputs) if style.grouped else 1
            padding = rate * (kernel // 2)
            return nn.Conv2d(inputs, outputs, kernel, 1, padding, rate, groups=groups, bias=False)

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
        """Features ``(B, channels, H, W)`` at the size of the low-level map.

        Args:
            maps: Low-level ``(B, low, H, W)`` and high-level ``(B, high, h, w)``.
            task: May be None only if nothing depends on the task.
        """
        low, high = maps
        branches = [branch(high, task) for branch in self.branches]
        pooled = self.pooled(high.mean(dim=(2, 3), keepdim=True), task)
        branches.append(resize(pooled, high.shape[-2:]))
        pyramid = resize(self.pyramid(torch.cat(branches, dim=1), task), low.shape[-2:])
        reduced = self.low_level(low, task)
        both = [reduced, pyramid] if self.style.low_level_first else [pyramid, reduced]
        return self.refine(self.fuse(torch.cat(both, dim=1), task), task)


class PyramidDecoder(nn.Module):
    """Feature pyramid, and the decoder of Panoptic FPN with layers per task.

    Vandenhende et al. (MTI-Net, ECCV 2020, tables 5 and 7b) compare with ASTMT on the feature
    pyramid of a ResNet-50, and published no code. Here the convolutions of the pyramid are shared
    and the decoder consists of the units of ASTMT: level i has max(1, i) units of 3x3, adapter,
    batch norm, ReLU and squeeze-and-excitation, each followed by upsampling by 2, and the levels
    are added (:class:`~taskprism.layers.PanopticFusion` is the form without tasks).

    Args:
        in_channels: Channels of the encoder's maps, finest first.
        channels: Channels of every unit.
        modulation: Which layers exist once per task.
        pyramid_channels: Channels of the maps of the pyramid.

    Example:
        >>> import torch
        >>> from taskprism.models.astmt.decoders import PyramidDecoder
        >>> from taskprism.layers import Modulation
        >>> shared = Modulation((), squeeze=False, adapters=False, norm=False)
        >>> decoder = PyramidDecoder((8, 16), channels=16, modulation=shared, pyramid_channels=8)
        >>> tuple(decoder([torch.rand(1, 8, 16, 24), torch.rand(1, 16, 8, 12)]).shape)
        (1, 16, 16, 24)
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        modulation: Modulation,
        pyramid_channels: int = 256,
    ) -> None:
        super().__init__()
        self.modulation = modulation
        self.pyramid = FeaturePyramidNetwork(list(in_channels), pyramid_channels)

        def unit(inputs: int) -> DecoderUnit:
            convolution = nn.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=False)
            style = RESNET_STYLE
            return DecoderUnit(convolution, modulation, style.activation, style.reduction)

        self.levels = ModuleList(
            ModuleList(
                unit(channels if step else pyramid_channels) for step in range(max(1, level))
            )
            for level in range(len(in_channels))
        )

    def forward(self, maps: Sequence[Tensor], task: str | None = None) -> Tensor:
        """Features ``(B, channels, H, W)`` at the size of the finest map.

        Args:
            maps: ``(B, in_channels[i], H_i, W_i)``, finest first.
            task: May be None only if nothing depends on the task.
        """
        named = OrderedDict((str(index), each) for index, each in enumerate(maps))
        pyramid = list(self.pyramid(named).values())
        total: Tensor | None = None
        for level, steps in enumerate(self.levels):
            x = pyramid[level]
            for done, step in enumerate(steps):
                x = resize(step(x, task), pyramid[max(level - 1 - done, 0)].shape[-2:])
            total = x if total is None else total + x
        assert total is not None
        return total


class UberNetHead(nn.Module):
    """One task's decoder of skip connections and 1x1 convolutions (after Kokkinos, CVPR 2017).

    A 1x1 convolution, batch norm and ReLU reduce each of two maps to the output channels of the
    task. The high-level one is upsampled, both are concatenated, and a last 1x1 convolution mixes
    them. All layers belong to the task; there is no squeeze-and-excitation and no adapter. ASTMT
    compares with it in appendix B.

    Args:
        in_channels: Channels of the low-level and the high-level map.
        out_channels: Output channels of the task.

    Example:
        >>> import torch
        >>> from taskprism.models.astmt.decoders import UberNetHead
        >>> head = UberNetHead((8, 16), out_channels=3)
        >>> tuple(head([torch.rand(2, 8, 16, 24), torch.rand(2, 16, 4, 6)]).shape)
        (2, 3, 16, 24)
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        low, high = in_channels
        self.low_level = _reduction(low, out_channels)
        self.high_level = _reduction(high, out_channels)
        self.predict = nn.Conv2d(2 * out_channels, out_channels, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Raw output ``(B, out, H, W)`` at the size of the low-level map."""
        low, high = maps
        reduced = self.low_level(low)
        high = resize(self.high_level(high), reduced.shape[-2:])
        return self.predict(torch.cat([reduced, high], dim=1))


def _reduction(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
