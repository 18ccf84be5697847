"""UberNet's light decoder, as compared with in ASTMT's appendix B."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskprism.layers import resize


class UberNetHead(nn.Module):
    """One task's decoder of skip connections and 1x1 convolutions (after Kokkinos, CVPR 2017).

    Each of two maps is brought to the task's output channels by 1x1, batch norm and ReLU; the
    high-level one is upsampled; both are concatenated and mixed by a last 1x1. All layers belong to
    the task, and there is no squeeze-and-excitation and no adapter.

    Args:
        in_channels: Of the low-level and the high-level map.
        out_channels: Of the task.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        low, high = in_channels
        self.low_level = _reduction(low, out_channels)
        self.high_level = _reduction(high, out_channels)
        self.predict = nn.Conv2d(2 * out_channels, out_channels, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Raw output ``(B, out, H, W)`` of the low-level map's size."""
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
