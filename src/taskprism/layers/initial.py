"""Initial heads: a feature map -> task features and initial prediction of one task."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class InitialHead(nn.Module):
    """Two residual blocks give the task features, a 1x1 convolution the initial prediction.

    Args:
        block: Residual block, ``(in_channels, out_channels) -> module``.
        in_channels: Channels of the incoming map.
        channels: Channels of the task features.
        out_channels: Channels of the prediction.
    """

    def __init__(
        self,
        block: Callable[[int, int], nn.Module],
        in_channels: int,
        channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.refine = nn.Sequential(block(in_channels, channels), block(channels, channels))
        self.predict = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, in, H, W)`` -> task features ``(B, channels, H, W)``, prediction (B, out, H, W)."""
        features = self.refine(x)
        return features, self.predict(features)
