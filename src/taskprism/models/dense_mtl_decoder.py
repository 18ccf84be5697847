"""DenseMTL's decoder: from the deepest map upwards, with a skip connection at every stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

_RATES = (6, 12, 18)  # dilations of the atrous pyramid


class DenseMTLDecoder(nn.Module):
    """Atrous pyramid on the deepest map, then a stage for each finer map of the backbone.

    The decoder of Monodepth2 (Godard et al., ICCV 2019) with an atrous pyramid (torchvision's,
    dropout 0.5) in place of its first convolution. Training needs batches of at least 2 images.

    Args:
        in_channels: Of the backbone's maps, finest first.
        widths: Channels of the decoder's maps at the same places; that of the deepest map is not
            used.
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
    """Convolution, nearest upsampling to the skipped map's size, concatenation, convolution.

    Args:
        in_channels: Of what comes from the deeper stage; None: it has ``out_channels`` already and
            the first convolution is left out.
        skip_channels: Of the backbone's map.
        out_channels: Of the result.
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
    """The last stage, which has no skipped map: to the image's size, and the prediction there."""

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
    """3x3 with bias on a reflected border, ELU: ``(B, in, H, W) -> (B, out, H, W)``."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, padding_mode="reflect"),
        nn.ELU(inplace=True),
    )
