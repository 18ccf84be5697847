"""Several maps of one thing, finest first -> one map at the finest size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers.containers import ModuleList
from taskprism.layers.resize import resize

AggregationName = Literal["auto", "high_resolution", "panoptic", "none"]


class Aggregation(nn.Module, ABC):
    """Maps ``(B, channels[i], H_i, W_i)``, finest first -> ``(B, out_channels, H_0, W_0)``.

    Attributes:
        out_channels: Channels of the result.
    """

    out_channels: int

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Aggregate."""


class HighResolutionFusion(Aggregation):
    """All maps at the finest size, concatenated, mixed by 1x1 BN ReLU (HRNet's representation V2).

    HRNet: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition",
    2020, figure 4b. The convolution has a bias, as in the multi-task literature's released code.

    Args:
        channels: Channels of each map; the result has their sum.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = sum(channels)
        self.mix = nn.Sequential(
            nn.Conv2d(self.out_channels, self.out_channels, kernel_size=1),
            nn.BatchNorm2d(self.out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Upsample, concatenate from fine to coarse, mix."""
        size = maps[0].shape[-2:]
        return self.mix(torch.cat([resize(each, size) for each in maps], dim=1))


class PanopticFusion(Aggregation):
    """Each map through convolutions and doublings up to the finest size, then summed.

    Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, figure 3: level i has max(1, i)
    times 3x3, group norm, ReLU, doubling.

    Args:
        channels: Channels of each map.
        width: Channels of the result, a multiple of 32 (the groups of the norm).
    """

    def __init__(self, channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.out_channels = width
        self.levels = ModuleList(
            ModuleList(
                _conv_norm_relu(entering if step == 0 else width, width)
                for step in range(max(1, level))
            )
            for level, entering in enumerate(channels)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring every level up, one doubling after the other, and add."""
        total: Tensor | None = None
        for level, steps in enumerate(self.levels):
            x = maps[level]
            for done, step in enumerate(steps):
                finer = maps[max(level - 1 - done, 0)]
                x = resize(step(x), finer.shape[-2:])
            total = x if total is None else total + x
        assert total is not None
        return total


class OnlyMap(Aggregation):
    """The one map there is, as it comes (for a backbone whose neck gives a single map).

    Args:
        channels: Of that map.

    Raises:
        InputError: If there are several.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != 1:
            raise InputError(
                f'Fusion "none" needs a backbone with one map, but this one has {len(channels)}; '
                'take one with neck="deepest", "fuse" or "aspp", or another fusion.'
            )
        self.out_channels = channels[0]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Unpack."""
        return maps[0]


def create_aggregation(channels: Sequence[int], kind: AggregationName = "auto") -> Aggregation:
    """Aggregation for maps of these channels.

    Args:
        channels: Channels of each map, finest first.
        kind: ``"high_resolution"``: :class:`HighResolutionFusion`; ``"panoptic"``:
            :class:`PanopticFusion`; ``"auto"``: maps of one width (a feature pyramid) are
            summed as in Panoptic FPN, others concatenated as in HRNet, which is what MTI-Net's
            supplement (section B) says of its two kinds of backbone; ``"none"``:
            :class:`OnlyMap`.
    """
    if kind == "auto":
        pyramid = len(channels) > 1 and len(set(channels)) == 1
        kind = "panoptic" if pyramid else "high_resolution"
    if kind == "high_resolution":
        return HighResolutionFusion(channels)
    if kind == "panoptic":
        return PanopticFusion(channels)
    if kind == "none":
        return OnlyMap(channels)
    raise UnknownNameError("aggregation", kind, get_args(AggregationName))


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(32, out_channels),
        nn.ReLU(inplace=True),
    )
