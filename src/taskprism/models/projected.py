"""A distillation at a width and on a grid of its own, between 1x1 convolutions and final heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taskprism.distillation import create_distillation
from taskprism.errors import InputError
from taskprism.layers import resize, upsampling_tail


class ProjectedDistillation(nn.Module):
    """Task features, each through a 1x1 convolution, then distilled, then upsampled if wanted.

    Args:
        distillation: A name of :func:`taskprism.distillation.list_distillations`.
        tasks: Names of the tasks that are refined.
        sources: Names of the tasks that are read.
        in_channels: Of the task features.
        channels: Of the distilled ones.
        stride: Of the task features against the image.
        size: ``(H, W)`` of the task features, for distillations that are built for one size.
        grid_stride: Stride at which distillation works; task features are resized to it before
            the 1x1 convolution. None: ``stride``.
        upsample: Double the distilled features (:func:`taskprism.layers.upsampling_tail`).
        options: Of the distillation.
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
        """Size at which task features of ``size`` are distilled."""
        stride, grid_stride = self.strides
        height, width = (-(-side * stride // grid_stride) for side in size)
        return height, width

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """``(B, in_channels, H, W)`` per source -> ``(B, channels, h, w)`` per task.

        h and w are those of :meth:`grid`, twice that after upsampling.
        """
        narrowed = {
            source: project(resize(features[source], self.grid(features[source].shape[-2:])))
            for source, project in self.project.items()
        }
        refined = self.distillation(narrowed, predictions)
        for task, tail in self.upsample.items():
            refined[task] = tail(refined[task])
        return refined
