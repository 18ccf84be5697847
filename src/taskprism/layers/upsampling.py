"""Twice the resolution, learnt."""

from __future__ import annotations

from torch import nn


def upsampling_tail(channels: int) -> nn.Sequential:
    """Transposed convolution that doubles a map, BN, ReLU, 3x3 convolution; both have biases.

    ``(B, channels, H, W) -> (B, channels, 2 H, 2 W)``. What CTAL's released code has between its
    attention and the final heads, which the paper does not mention.
    """
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )
