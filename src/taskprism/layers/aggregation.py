"""Aggregation: maps of several scales, finest first -> one map at the finest size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from taskprism.checks import check_channels, check_choice
from taskprism.errors import InputError
from taskprism.layers.containers import ModuleList
from taskprism.layers.resize import resize

AggregationName = Literal["auto", "high_resolution", "panoptic", "none"]
_GROUPS = 32


class Aggregation(nn.Module, ABC):
    """Maps ``(B, channels[i], H_i, W_i)``, finest first -> ``(B, out_channels, H_0, W_0)``.

    Attributes:
        out_channels: Channels of the result.

    Example:
        >>> import torch
        >>> class Finest(Aggregation):
        ...     out_channels = 4
        ...
        ...     def forward(self, maps):
        ...         return maps[0]
        >>> Finest()([torch.rand(1, 4, 8, 8)]).shape
        torch.Size([1, 4, 8, 8])
    """

    out_channels: int

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Aggregate the maps."""


class HighResolutionFusion(Aggregation):
    """Resize all maps to the finest size, concatenate them, and mix by 1x1 convolution, norm, ReLU.

    This is HRNet's representation V2: Wang et al., "Deep High-Resolution Representation Learning
    for Visual Recognition", 2020, figure 4b. The convolution has a bias, as in the released code of
    multi-task papers.

    Args:
        channels: Channels of each map, finest first; the result has their sum.

    Example:
        >>> import torch
        >>> from taskprism.layers import HighResolutionFusion
        >>> fusion = HighResolutionFusion([8, 16])
        >>> fusion([torch.rand(1, 8, 6, 5), torch.rand(1, 16, 3, 3)]).shape
        torch.Size([1, 24, 6, 5])
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        channels = checked_channels("HighResolutionFusion", channels)
        self.out_channels = sum(channels)
        self.mix = nn.Sequential(
            nn.Conv2d(self.out_channels, self.out_channels, kernel_size=1),
            nn.BatchNorm2d(self.out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Upsample, concatenate from fine to coarse, and mix."""
        size = maps[0].shape[-2:]
        return self.mix(torch.cat([resize(each, size) for each in maps], dim=1))


class PanopticFusion(Aggregation):
    """Upsample each map by convolutions and doublings to the finest size, and sum them.

    Kirillov et al., "Panoptic Feature Pyramid Networks", 2019, figure 3: level i has max(1, i)
    times 3x3 convolution, group norm, ReLU, doubling.

    Args:
        channels: Channels of each map, finest first.
        width: Channels of the result, a multiple of 32 (the groups of the norm).

    Raises:
        InputError: A number of channels is not a positive integer, or ``width`` is not a multiple
            of 32.

    Example:
        >>> import torch
        >>> from taskprism.layers import PanopticFusion
        >>> fusion = PanopticFusion([8, 8], width=32)
        >>> fusion([torch.rand(1, 8, 6, 5), torch.rand(1, 8, 3, 3)]).shape
        torch.Size([1, 32, 6, 5])
    """

    def __init__(self, channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        channels = checked_channels("PanopticFusion", channels)
        self.out_channels = check_channels("PanopticFusion", "width", width, low=_GROUPS)
        if width % _GROUPS:
            raise InputError(f"PanopticFusion: width must be a multiple of {_GROUPS}, got {width}.")
        self.levels = ModuleList(
            ModuleList(
                _conv_norm_relu(incoming if step == 0 else width, width)
                for step in range(max(1, level))
            )
            for level, incoming in enumerate(channels)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Upsample every level, doubling by doubling, and add."""
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
    """The map of a backbone that has only one, unchanged.

    Args:
        channels: Channels of each map; there must be one.

    Raises:
        InputError: There are several maps.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        channels = checked_channels("OnlyMap", channels)
        if len(channels) != 1:
            raise InputError(
                f'Fusion "none" needs a backbone with one map, but this one has {len(channels)}; '
                'use one with neck="deepest", "fuse" or "aspp", or another fusion.'
            )
        self.out_channels = channels[0]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the map."""
        return maps[0]


def create_aggregation(channels: Sequence[int], kind: AggregationName = "auto") -> Aggregation:
    """Create an aggregation.

    Args:
        channels: Channels of each map, finest first.
        kind: ``"high_resolution"``: :class:`HighResolutionFusion`; ``"panoptic"``:
            :class:`PanopticFusion`; ``"auto"``: maps of equal channels (a feature pyramid) are
            summed as in Panoptic FPN, others are concatenated as in HRNet, as MTI-Net's supplement
            (section B) describes for its two kinds of backbone; ``"none"``: the map of a backbone
            that has only one.

    Raises:
        UnknownNameError: There is no such kind.
        InputError: ``channels`` does not suit the kind.

    Example:
        >>> from taskprism.layers import create_aggregation
        >>> create_aggregation([8, 16]).out_channels
        24
    """
    check_choice("layers", "aggregation", kind, get_args(AggregationName))
    channels = checked_channels("create_aggregation", channels)
    if kind == "auto":
        pyramid = len(channels) > 1 and len(set(channels)) == 1
        kind = "panoptic" if pyramid else "high_resolution"
    if kind == "high_resolution":
        return HighResolutionFusion(channels)
    if kind == "panoptic":
        return PanopticFusion(channels)
    return OnlyMap(channels)


def checked_channels(owner: str, channels: Sequence[int]) -> list[int]:
    """Channels of each map as a list.

    Raises:
        InputError: It is not a list of positive integers, or it is empty.
    """
    if not isinstance(channels, Sequence) or isinstance(channels, str) or not channels:
        raise InputError(
            f"{owner}: channels must be a list of the channels of each map, got {channels!r}."
        )
    return [
        check_channels(owner, f"channels[{level}]", each) for level, each in enumerate(channels)
    ]


def _conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, out_channels),
        nn.ReLU(inplace=True),
    )
