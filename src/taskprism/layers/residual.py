"""Residual blocks of torchvision, with a projected shortcut where the channels change.

Both blocks keep the map's size. Convolutions have no bias; batch norm has PyTorch's defaults.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from taskprism.checks import check_channels
from taskprism.errors import InputError


def basic_block(in_channels: int, out_channels: int) -> BasicBlock:
    """3x3, norm, ReLU, 3x3, norm, plus shortcut, ReLU: ``(B, in, H, W) -> (B, out, H, W)``.

    Raises:
        InputError: A number of channels is not a positive integer.

    Example:
        >>> import torch
        >>> from taskprism.layers import basic_block
        >>> basic_block(8, 4)(torch.rand(1, 8, 6, 5)).shape
        torch.Size([1, 4, 6, 5])
    """
    check_channels("basic_block", "in_channels", in_channels)
    check_channels("basic_block", "out_channels", out_channels)
    return BasicBlock(in_channels, out_channels, downsample=_shortcut(in_channels, out_channels))


def bottleneck(in_channels: int, out_channels: int) -> Bottleneck:
    """1x1, 3x3 and 1x1, each with norm, plus shortcut: ``(B, in, H, W) -> (B, out, H, W)``.

    ReLU follows the first two norms and the sum. The inner width is a quarter of ``out_channels``.

    Raises:
        InputError: A number of channels is not a positive integer, or ``out_channels`` is not a
            multiple of 4.

    Example:
        >>> import torch
        >>> from taskprism.layers import bottleneck
        >>> bottleneck(6, 8)(torch.rand(1, 6, 5, 4)).shape
        torch.Size([1, 8, 5, 4])
    """
    check_channels("bottleneck", "in_channels", in_channels)
    check_channels("bottleneck", "out_channels", out_channels)
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
