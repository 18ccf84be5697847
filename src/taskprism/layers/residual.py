"""Residual blocks, torchvision's own, with a projected shortcut where channels change.

Both keep the map's size. Convolutions have no bias; batch norm has PyTorch's defaults.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from taskprism.errors import InputError


def basic_block(in_channels: int, out_channels: int) -> BasicBlock:
    """3x3 BN ReLU 3x3 BN, plus shortcut, ReLU: ``(B, in, H, W) -> (B, out, H, W)``."""
    return BasicBlock(in_channels, out_channels, downsample=_shortcut(in_channels, out_channels))


def bottleneck(in_channels: int, out_channels: int) -> Bottleneck:
    """1x1 BN ReLU 3x3 BN ReLU 1x1 BN, plus shortcut, ReLU: ``(B, in, H, W) -> (B, out, H, W)``.

    The inner width is a quarter of ``out_channels``.

    Raises:
        InputError: If ``out_channels`` is no multiple of 4.
    """
    if out_channels % Bottleneck.expansion:
        raise InputError(
            f"A bottleneck's channels must be a multiple of {Bottleneck.expansion}, "
            f"got {out_channels}."
        )
    width = out_channels // Bottleneck.expansion
    return Bottleneck(in_channels, width, downsample=_shortcut(in_channels, out_channels))


def _shortcut(in_channels: int, out_channels: int) -> nn.Module | None:
    if in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
