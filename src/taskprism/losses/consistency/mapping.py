"""The network that maps predictions and labels of several tasks into one space (MTPSL)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ModuleList
from taskprism.tasks.base import Task

_WIDTHS = (1, 2, 4, 8, 8)  # channels at each scale / those of the first
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of each scale
_STRIDE = 32


class PairConvolution(nn.Module):
    """3x3 convolution, normalization, a scale and shift that depend on the task pair, ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        pairs: Number of ordered task pairs.

    Example:
        >>> from taskprism.losses.consistency.mapping import PairConvolution
        >>> layer = PairConvolution(4, 8, pairs=6)
        >>> layer(torch.rand(3, 4, 5, 7), torch.tensor([0, 5, 5])).shape
        torch.Size([3, 8, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, pairs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        # Of each map alone: the loss of an image does not depend on the others in its batch.
        self.norm = nn.InstanceNorm2d(out_channels, affine=True)
        self.gamma = nn.Parameter(torch.ones(out_channels, pairs))
        self.beta = nn.Parameter(torch.zeros(out_channels, pairs))

    def forward(self, maps: Tensor, pairs: Tensor) -> Tensor:
        """Transform ``maps`` ``(N, in_channels, H, W)``; ``pairs`` ``(N,)`` are their numbers."""
        normalized = self.norm(self.conv(maps))
        scale, shift = (each[:, pairs].T[..., None, None] for each in (self.gamma, self.beta))
        return functional.relu(normalized * scale + shift)


class MappingNetwork(nn.Module):
    r"""Predictions or labels of any task -> features that can be compared (Li et al., CVPR 2022).

    An encoder as in SegNet with 13 convolutions of 3x3 and five poolings, shared by all tasks.
    Each task has an input layer (convolution, normalization, ReLU). After every other convolution,
    each channel is scaled and shifted by numbers that belong to the ordered pair (source, target).
    Pairs are numbered as the elements of a T x T matrix, row by row, without its diagonal.

    The published network has batch norm. Here it is instance norm, which is what batch norm
    computes in training for a batch of one map: features of an image do not depend on its batch.

    Args:
        tasks: Two or more tasks.
        width: Channels of the first scale, at least 1; the others have 2, 4, 8 and 8 times as many.
            64 is the published width.

    Attributes:
        out_channels: Channels of the features.

    Raises:
        InputError: There are fewer than two tasks, or ``width`` is not positive.

    Example:
        >>> from taskprism.losses.consistency import MappingNetwork
        >>> from taskprism.tasks import resolve_tasks
        >>> network = MappingNetwork(resolve_tasks({"semseg": 13, "depth": 1, "normals": 3}))
        >>> round(sum(p.numel() for p in network.parameters()) / 1e6, 2)
        14.82
    """

    def __init__(self, tasks: Sequence[Task], width: int = 64) -> None:
        super().__init__()
        if len(tasks) < 2:
            raise InputError(
                "A consistency loss links at least two tasks, got "
                f"{', '.join(task.name for task in tasks) or 'none'}. Train more main tasks, or "
                "leave the loss out."
            )
        if width < 1:
            raise InputError(f"The width of a mapping network must be at least 1, got {width}.")
        self.tasks = [task.name for task in tasks]
        pairs = len(tasks) * (len(tasks) - 1)
        self.inputs = ModuleDict(
            {
                task.name: nn.Sequential(
                    nn.Conv2d(task.normalized_channels, width, 3, padding=1),
                    nn.InstanceNorm2d(width, affine=True),
                    nn.ReLU(),
                )
                for task in tasks
            }
        )
        self.scales = ModuleList()
        channels = width
        for factor, count in zip(_WIDTHS, _CONVOLUTIONS, strict=True):
            layers = ModuleList()
            for _ in range(count):
                layers.append(PairConvolution(channels, factor * width, pairs))
                channels = factor * width
            self.scales.append(layers)
        self.out_channels = channels

    def pair(self, source: int, target: int) -> int:
        """Number of the pair of the tasks with these positions, which differ."""
        return source * (len(self.tasks) - 1) + target - (target > source)

    def embed(self, task: str, maps: Tensor) -> Tensor:
        """First features ``(N, width, H, W)`` of a task's maps.

        Args:
            task: Name of the task.
            maps: :meth:`~taskprism.tasks.Task.normalized_output` or ``normalized_target``,
                ``(N, normalized_channels, H, W)``.

        Raises:
            InputError: The maps are smaller than 32 x 32.
        """
        height, width = maps.shape[-2:]
        if min(height, width) < _STRIDE:
            raise InputError(
                f"A mapping network needs images of {_STRIDE} x {_STRIDE} pixels or more, got "
                f"{height} x {width}. Increase data.options.input_size."
            )
        layers = self.inputs[task]
        return layers(maps.to(next(layers.parameters()).dtype))

    def forward(self, maps: Tensor, pairs: Tensor) -> Tensor:
        """Encode.

        Args:
            maps: ``(N, width, H, W)`` of :meth:`embed`.
            pairs: ``(N,)`` int64, the number of the pair of each (:meth:`pair`).

        Returns:
            ``(N, out_channels, H // 32, W // 32)``.
        """
        for layers in self.scales:
            for layer in layers:
                maps = layer(maps, pairs)
            maps = functional.max_pool2d(maps, 2)
        return maps

    def affine_parameters(self) -> list[nn.Parameter]:
        """The scales and shifts of the task pairs."""
        layers = [module for module in self.modules() if isinstance(module, PairConvolution)]
        return [each for layer in layers for each in (layer.gamma, layer.beta)]
