"""Layers that change the size of a map: bilinear to any size, or learned to twice the size."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.checks import check_channels


def resize(maps: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Resize bilinearly, corners not aligned: ``(B, C, h, w) -> (B, C, *size)``.

    It takes a size and not a factor, so maps of odd sizes fit each other exactly. A map that has
    the size already is returned as it is.

    Args:
        maps: ``(B, C, h, w)``, floating point.
        size: ``(H, W)``.
        antialias: Whether to average over all pixels that a smaller pixel covers. Networks are
            trained without; use it for photographs.

    Example:
        >>> import torch
        >>> from taskprism.layers import resize
        >>> resize(torch.zeros(1, 3, 4, 5), (9, 7)).shape
        torch.Size([1, 3, 9, 7])
    """
    height, width = size
    if tuple(maps.shape[-2:]) == (height, width):
        return maps
    return F.interpolate(
        maps, size=(height, width), mode="bilinear", align_corners=False, antialias=antialias
    )


def ceil_divide(number: int, divisor: int) -> int:
    """``number / divisor`` rounded up; both are positive.

    Shapes are divided in this way and not by ``-(-number // divisor)``, because integers are
    divided toward zero in an exported ONNX graph.

    Example:
        >>> from taskprism.layers import ceil_divide
        >>> ceil_divide(5, 2), ceil_divide(4, 2)
        (3, 2)
    """
    return (number + divisor - 1) // divisor


def upsampling_tail(channels: int) -> nn.Sequential:
    """Learned upsampling: ``(B, channels, H, W) -> (B, channels, 2 H, 2 W)``.

    Transposed convolution, batch norm, ReLU, 3x3 convolution; both convolutions have biases.
    CTAL's released code has it between the cross-task attention and the final heads; the paper does
    not mention it.

    Args:
        channels: Channels of the map and of the result.

    Example:
        >>> import torch
        >>> from taskprism.layers import upsampling_tail
        >>> upsampling_tail(8)(torch.rand(1, 8, 6, 5)).shape
        torch.Size([1, 8, 12, 10])
    """
    check_channels("upsampling_tail", "channels", channels)
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )
