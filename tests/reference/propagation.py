"""Feature propagation and spatial attention of MTI-Net, position by position in plain loops."""

from __future__ import annotations

import torch
from torch import Tensor


def propagation_mask(scores: Tensor, tasks: int, grouping: str) -> Tensor:
    """Softmax of ``(B, N * C, H, W)`` in groups of ``tasks`` channels.

    ``"channels"``: group g holds the channels g*N ... g*N + N-1; ``"tasks"``: group c holds channel
    c of every task, c, C + c, 2*C + c, ...
    """
    mask = torch.zeros_like(scores)
    stacked = scores.shape[1]
    channels = stacked // tasks
    for group in range(channels):
        if grouping == "channels":
            members = [group * tasks + i for i in range(tasks)]
        else:
            members = [i * channels + group for i in range(tasks)]
        total = sum(torch.exp(scores[:, m]) for m in members)
        for m in members:
            mask[:, m] = torch.exp(scores[:, m]) / total
    return mask


def excitation(x: Tensor, squeeze: tuple[Tensor, Tensor], expand: tuple[Tensor, Tensor]) -> Tensor:
    """Squeeze-and-excitation with two fully connected layers (weight, bias)."""
    result = torch.zeros_like(x)
    for b in range(x.shape[0]):
        means = torch.stack([x[b, c].mean() for c in range(x.shape[1])])
        hidden = (squeeze[0] @ means + squeeze[1]).clamp(min=0)
        gate = 1 / (1 + torch.exp(-(expand[0] @ hidden + expand[1])))
        for c in range(x.shape[1]):
            result[b, c] = x[b, c] * gate[c]
    return result


def convolve3x3(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 cross-correlation with zero padding, no bias, one output pixel at a time."""
    batch, _, height, width = x.shape
    padded = torch.zeros(batch, x.shape[1], height + 2, width + 2, dtype=x.dtype)
    padded[:, :, 1:-1, 1:-1] = x
    result = torch.zeros(batch, weight.shape[0], height, width, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            window = padded[:, :, i : i + 3, j : j + 3]
            result[:, :, i, j] = torch.einsum("bcxy,ocxy->bo", window, weight)
    return result
