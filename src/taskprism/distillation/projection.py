"""The 1x1 projection that attention modules make queries, keys and values with."""

from __future__ import annotations

from torch import nn


def projection(in_channels: int, out_channels: int, layers: int = 1) -> nn.Sequential:
    """``layers`` times 1x1 convolution without bias, BN, ReLU: ``(B, in, H, W) -> (B, out, H, W)``.

    All layers have ``out_channels``.
    """
    parts: list[nn.Module] = []
    for layer in range(layers):
        width = in_channels if layer == 0 else out_channels
        parts += [
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*parts)
