"""A distillation with its own number of channels and its own stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taskprism.distillation import create_distillation
from taskprism.errors import InputError
from taskprism.layers import ceil_divide, resize, upsampling_tail


class ProjectedDistillation(nn.Module):
    """1x1 convolution on the features of each task, distillation, and optionally upsampling.

    Args:
        distillation: A name of :func:`taskprism.distillation.list_distillations`.
        tasks: Names of the tasks that are refined.
        sources: Names of the tasks that are read.
        in_channels: Channels of the task features.
        channels: Channels of the distilled features.
        stride: Stride of the task features.
        size: ``(H, W)`` of the task features, for distillations that are built for one size.
        grid_stride: Stride at which distillation works; task features are resized to it before
            the 1x1 convolution. None: ``stride``.
        upsample: Double the resolution afterwards (:func:`taskprism.layers.upsampling_tail`).
        options: Options of the distillation.

    Raises:
        InputError: ``grid_stride`` is less than 1.

    Example:
        >>> import torch
        >>> from taskprism.models.projected import ProjectedDistillation
        >>> tasks = ["depth", "edge"]
        >>> block = ProjectedDistillation("concat", tasks, tasks, 8, 4, stride=4, grid_stride=8)
        >>> features = {task: torch.rand(2, 8, 16, 24) for task in tasks}
        >>> tuple(block(features)["depth"].shape)
        (2, 4, 8, 12)
    """

    def __init__(
        self,
        distillation: str,
        tasks: Sequence[str],
        sources: Sequence[str],
        in_channels: int,
        channels: int,
        stride: int,
        size: tuple[int, int] | None = None,
        grid_stride: int | None = None,
        upsample: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        grid_stride = stride if grid_stride is None else grid_stride
        if grid_stride < 1:
            raise InputError(f"attention_stride={grid_stride} must be at least 1.")
        self.strides = (stride, grid_stride)
        self.project = nn.ModuleDict(
            {source: nn.Conv2d(in_channels, channels, kernel_size=1) for source in sources}
        )
        self.distillation = create_distillation(
            distillation,
            tasks,
            channels,
            sources=sources,
            size=None if size is None else self.grid(size),
            stride=grid_stride,
            **(options or {}),
        )
        self.upsample = nn.ModuleDict(
            {task: upsampling_tail(channels) for task in tasks} if upsample else {}
        )

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Size at which distillation works on task features of ``size``."""
        stride, grid_stride = self.strides
        height, width = (ceil_divide(side * stride, grid_stride) for side in size)
        return height, width

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """``(B, in_channels, H, W)`` per source -> ``(B, channels, h, w)`` per task.

        (h, w) is the size from :meth:`grid`, or twice that with upsampling.
        """
        reduced = {
            source: project(resize(features[source], self.grid(features[source].shape[-2:])))
            for source, project in self.project.items()
        }
        refined = self.distillation(reduced, predictions)
        for task, tail in self.upsample.items():
            refined[task] = tail(refined[task])
        return refined
