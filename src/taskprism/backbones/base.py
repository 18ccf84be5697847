"""The contract of a backbone: image -> list of feature maps, finest first."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Image ``(B, 3, H, W)`` -> feature maps ``(B, channels[i], ~H/strides[i], ~W/strides[i])``.

    Necks (feature pyramid, fusion, ASPP, ViT pyramid) are backbones that wrap a backbone.

    Attributes:
        channels: Channels of each map, finest first.
        strides: Downsampling of each map, increasing.
        image_mean: Per-channel mean that the weights expect, of RGB in [0, 1].
        image_std: Per-channel standard deviation that the weights expect.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of a normalised image batch, finest first."""
