"""Attention between maps, without ever holding the matrix of all pairs of positions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_tokens(maps: Tensor) -> Tensor:
    """``(B, C, H, W) -> (B, H W, C)``, contiguous, as fused attention kernels want it."""
    return maps.flatten(2).mT.contiguous()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    r"""``softmax(Q K^T / sqrt d) V`` by a fused kernel where there is one.

    Args:
        query: ``(B, n, d)``.
        key: ``(B, m, d)``.
        value: ``(B, m, C)``.

    Returns:
        ``(B, n, C)``.
    """
    scale = query.shape[-1] ** -0.5
    channels = value.shape[-1]
    # Fused kernels want one width for all; zeros change nothing.
    width = max(query.shape[-1], channels)
    query, key, value = (
        (x if x.shape[-1] == width else F.pad(x, [0, width - x.shape[-1]])).unsqueeze(1)
        for x in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1)
    return mixed[..., :channels]
