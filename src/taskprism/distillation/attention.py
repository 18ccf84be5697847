"""Attention between feature maps that never stores the matrix of all pairs of positions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def projection(in_channels: int, out_channels: int, layers: int = 1) -> nn.Sequential:
    """Projection to queries, keys or values: ``(B, in, H, W) -> (B, out, H, W)``.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of the result and of every layer in between.
        layers: How many times 1x1 convolution without bias, batch norm, ReLU.
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


def to_tokens(maps: Tensor) -> Tensor:
    """``(B, C, H, W) -> (B, H W, C)``, contiguous as fused attention kernels require."""
    return maps.flatten(2).mT.contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    r"""``softmax(Q K^T / sqrt d) V``, by a fused kernel where the device has one.

    Args:
        query: ``(B, n, d)``.
        key: ``(B, m, d)``.
        value: ``(B, m, C)``.

    Returns:
        ``(B, n, C)``.
    """
    scale = query.shape[-1] ** -0.5
    channels = value.shape[-1]
    # Fused kernels require equal widths; padding with zeros does not change the result.
    width = max(query.shape[-1], channels)
    query, key, value = (
        (x if x.shape[-1] == width else F.pad(x, [0, width - x.shape[-1]])).unsqueeze(1)
        for x in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)
    return mixed[..., :channels]
