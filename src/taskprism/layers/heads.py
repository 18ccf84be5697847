"""Heads: feature maps, finest first -> raw output of one task.

Final heads read the maps of a backbone or the refined features of a task. Initial heads give the
features that cross-task modules refine, and a first prediction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead as _DeepLabHead

from taskprism.checks import LONGEST_SIDE, check_channels, check_integer
from taskprism.errors import InputError
from taskprism.layers.aggregation import Aggregation, checked_channels, create_aggregation
from taskprism.layers.residual import bottleneck
from taskprism.registry import Registry


class Head(nn.Module, ABC):
    """Feature maps of the backbone or of one task -> raw output of one task.

    A subclass is created as ``MyHead(channels, out_channels)``, where ``channels`` lists the
    channels of each map, finest first. A function with these arguments that returns a module works
    too.

    Example:
        >>> from torch import nn
        >>> from taskprism.layers import Head, create_head
        >>> class Finest(Head):
        ...     def __init__(self, channels, out_channels):
        ...         super().__init__()
        ...         self.predict = nn.Conv2d(channels[0], out_channels, kernel_size=1)
        ...     def forward(self, maps):
        ...         return self.predict(maps[0])
        >>> head = create_head([8, 16], 3, Finest)
    """

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict ``(B, out_channels, h, w)`` from ``(B, channels[i], H_i, W_i)``, finest first.

        The caller resizes the output to the image.
        """


#: What a model's ``head`` option accepts: a registered name, ``"module:Class"``, class or factory.
HeadLike = str | type[Head] | Callable[[Sequence[int], int], nn.Module]

#: Every head by name.
HEADS: Registry[Head] = Registry("head", Head, package="taskprism.layers", factories=True)
register_head = HEADS.register


class AggregationHead(Head):
    """An aggregation and a 1x1 convolution: ``(B, channels[i], ...)`` -> ``(B, out, H_0, W_0)``.

    Args:
        aggregation: Maps -> one map at the finest size.
        out_channels: Channels of the output.

    Example:
        >>> import torch
        >>> from taskprism.layers import AggregationHead, create_aggregation
        >>> head = AggregationHead(create_aggregation([8, 16]), out_channels=3)
        >>> head([torch.rand(1, 8, 6, 5), torch.rand(1, 16, 3, 3)]).shape
        torch.Size([1, 3, 6, 5])
    """

    def __init__(self, aggregation: Aggregation, out_channels: int) -> None:
        super().__init__()
        check_channels("AggregationHead", "out_channels", out_channels)
        self.aggregation = aggregation
        self.predict = nn.Conv2d(aggregation.out_channels, out_channels, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict at the finest map's size."""
        return self.predict(self.aggregation(maps))


@register_head("auto")
def auto_head(channels: Sequence[int], out_channels: int) -> AggregationHead:
    """:class:`PanopticFusion` for a feature pyramid, otherwise :class:`HighResolutionFusion`.

    Example:
        >>> import torch
        >>> head = auto_head([8, 8], out_channels=3)
        >>> maps = [torch.rand(1, 8, 8, 8), torch.rand(1, 8, 4, 4)]
        >>> head(maps).shape
        torch.Size([1, 3, 8, 8])
    """
    return AggregationHead(create_aggregation(channels, "auto"), out_channels)


@register_head("high_resolution")
def high_resolution_head(channels: Sequence[int], out_channels: int) -> AggregationHead:
    """:class:`HighResolutionFusion` and a 1x1 convolution.

    Example:
        >>> import torch
        >>> head = high_resolution_head([8, 8], out_channels=3)
        >>> maps = [torch.rand(1, 8, 8, 8), torch.rand(1, 8, 4, 4)]
        >>> head(maps).shape
        torch.Size([1, 3, 8, 8])
    """
    return AggregationHead(create_aggregation(channels, "high_resolution"), out_channels)


@register_head("panoptic")
def panoptic_head(channels: Sequence[int], out_channels: int) -> AggregationHead:
    """:class:`PanopticFusion` and a 1x1 convolution.

    Example:
        >>> import torch
        >>> head = panoptic_head([8, 8], out_channels=3)
        >>> maps = [torch.rand(1, 8, 8, 8), torch.rand(1, 8, 4, 4)]
        >>> head(maps).shape
        torch.Size([1, 3, 8, 8])
    """
    return AggregationHead(create_aggregation(channels, "panoptic"), out_channels)


@register_head
class DeepLabHead(Head):
    """Atrous spatial pyramid on the coarsest map (torchvision's DeepLab-v3 head, dropout 0.5).

    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017. Use it with
    a backbone that has ``output_stride=8``. Training needs batches of at least 2 images, because
    the image pooling branch normalizes one value per image.

    Args:
        channels: Channels of each map, finest first; only the last is used.
        out_channels: Channels of the output.
        rates: Dilations of the three atrous convolutions, positive integers.

    Example:
        >>> import torch
        >>> from taskprism.layers import DeepLabHead
        >>> head = DeepLabHead([8, 16], out_channels=3).eval()
        >>> head([torch.rand(1, 8, 12, 10), torch.rand(1, 16, 6, 5)]).shape
        torch.Size([1, 3, 6, 5])
    """

    name = "deeplab"

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        rates: tuple[int, int, int] = (12, 24, 36),
    ) -> None:
        super().__init__()
        check_channels("DeepLabHead", "channels[-1]", channels[-1])
        check_channels("DeepLabHead", "out_channels", out_channels)
        if len(rates) != 3:
            raise InputError(f"DeepLabHead: rates must be three integers, got {rates!r}.")
        for rate in rates:
            check_integer("DeepLabHead", "rates", rate, 1, LONGEST_SIDE)
        self.layers = _DeepLabHead(channels[-1], out_channels, rates)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict at the coarsest map's size."""
        return self.layers(maps[-1])


@register_head
class BottleneckHead(Head):
    """Two bottlenecks and a 1x1 convolution on the finest map (PAD-Net's final head).

    Args:
        channels: Channels of each map, finest first; only the first is used, a multiple of 4.
        out_channels: Channels of the output.

    Example:
        >>> import torch
        >>> from taskprism.layers import BottleneckHead
        >>> head = BottleneckHead([8, 16], out_channels=3)
        >>> head([torch.rand(1, 8, 6, 5), torch.rand(1, 16, 3, 3)]).shape
        torch.Size([1, 3, 6, 5])
    """

    name = "bottleneck"

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        check_channels("BottleneckHead", "out_channels", out_channels)
        layers = (
            bottleneck(channels[0], channels[0]),
            bottleneck(channels[0], channels[0]),
            nn.Conv2d(channels[0], out_channels, kernel_size=1),
        )
        for index, layer in enumerate(layers):  # saved models have these keys
            self.add_module(str(index), layer)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict at the finest map's size."""
        x = maps[0]
        for layer in self.children():
            x = layer(x)
        return x


def list_heads() -> list[str]:
    """Names that :func:`create_head` accepts, in alphabetical order.

    Example:
        >>> from taskprism.layers import list_heads
        >>> {"auto", "deeplab"} <= set(list_heads())
        True
    """
    return HEADS.names()


def create_head(channels: Sequence[int], out_channels: int, kind: HeadLike = "auto") -> nn.Module:
    """Create a head that reads a list of maps, finest first.

    Args:
        channels: Channels of each map.
        out_channels: Channels of the output.
        kind: ``"high_resolution"``, ``"panoptic"`` or ``"auto"`` as in
            :func:`~taskprism.layers.create_aggregation`; ``"deeplab"``, which reads only the
            coarsest map; ``"bottleneck"``, which reads only the finest; or another registered name,
            ``"module:Class"``, a subclass of :class:`Head`, or a function of
            ``(channels, out_channels)``.

    Raises:
        UnknownNameError: No head has this name.
        InputError: ``kind`` is not a head, its function does not return a module, or a number of
            channels is not a positive integer.

    Example:
        >>> import torch
        >>> from taskprism.layers import create_head
        >>> head = create_head([8, 16], 3, "high_resolution")
        >>> head([torch.rand(1, 8, 6, 5), torch.rand(1, 16, 3, 3)]).shape
        torch.Size([1, 3, 6, 5])
    """
    found = HEADS.find(kind)
    widths = checked_channels("create_head", channels)
    head = found(widths, check_channels("create_head", "out_channels", out_channels))
    if not isinstance(head, nn.Module):
        raise InputError(f"Expected a module from head {kind!r}, got {type(head).__name__}.")
    return head


class InitialHead(nn.Module):
    """Two residual blocks give the task features, a 1x1 convolution the initial prediction.

    Args:
        block: Function that creates a residual block, ``(in_channels, out_channels) -> module``.
        in_channels: Channels of the incoming map.
        channels: Channels of the task features.
        out_channels: Channels of the prediction.

    Example:
        >>> import torch
        >>> from taskprism.layers import InitialHead, basic_block
        >>> head = InitialHead(basic_block, in_channels=8, channels=4, out_channels=1)
        >>> features, prediction = head(torch.rand(1, 8, 6, 5))
        >>> features.shape, prediction.shape
        (torch.Size([1, 4, 6, 5]), torch.Size([1, 1, 6, 5]))
    """

    def __init__(
        self,
        block: Callable[[int, int], nn.Module],
        in_channels: int,
        channels: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        check_channels("InitialHead", "out_channels", out_channels)
        self.refine = nn.Sequential(block(in_channels, channels), block(channels, channels))
        self.predict = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, in, H, W)`` -> task features ``(B, channels, H, W)``, prediction (B, out, H, W)."""
        features = self.refine(x)
        return features, self.predict(features)
