"""The contract of a backbone: image -> list of feature maps, finest first."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Image ``(B, 3, H, W)`` -> maps ``(B, channels[i], ceil(H/strides[i]), ceil(W/strides[i]))``.

    Necks (feature pyramid, fusion, ASPP, ViT pyramid) are backbones that wrap a backbone.

    Attributes:
        channels: Channels of each map, finest first.
        strides: Downsampling of each map, increasing.
        image_mean: Per-channel mean that the weights expect, of RGB in [0, 1].
        image_std: Per-channel standard deviation that the weights expect.
        weights: Where the first weights come from and under which terms, for people.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    weights: str = "random"

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of a normalized image batch, finest first."""

    def feature_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """``(H, W)`` of every map for an input image of ``size``."""
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in self.strides]


class Neck(Backbone):
    """A backbone that changes another backbone's maps.

    Attributes:
        trunk: The backbone that is wrapped.
    """

    def __init__(
        self, trunk: Backbone, channels: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.channels = channels
        self.strides = strides
        self.image_mean = trunk.image_mean
        self.image_std = trunk.image_std
        self.weights = trunk.weights

    def forward(self, images: Tensor) -> list[Tensor]:
        """The trunk's maps, transformed."""
        return self.transform(self.trunk(images))

    @abstractmethod
    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the trunk -> maps of this neck."""
