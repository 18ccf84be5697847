"""Backbones whose features depend on the task that is asked for."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from taskprism.backbones.base import Backbone
from taskprism.errors import InputError
from taskprism.layers.modulation import Modulation


class ModulatedBackbone(Backbone):
    """Image ``(B, 3, H, W)`` and task -> two maps: low-level at stride 4, high-level at the last.

    Some can give those in between too.

    Attributes:
        modulation: Which layers every task has for itself.
    """

    modulation: Modulation

    @abstractmethod
    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Feature maps for ``task``, which may be None only if nothing depends on the task."""


def dilated(
    stem_stride: int, strides: tuple[int, ...], output_stride: int
) -> list[tuple[int, int]]:
    """Stride and dilation of each stage, so that all strides multiply to ``output_stride`` at most.

    A stage that must not stride any more dilates instead, in all its blocks: the first one too, as
    in the released ASTMT and unlike timm.

    Args:
        stem_stride: Of what comes before the stages.
        strides: Of the stages, without dilation.
        output_stride: 8 or 16.

    Raises:
        InputError: For another output stride.
    """
    if output_stride not in (8, 16):
        raise InputError(f"output_stride must be 8 or 16, got {output_stride}.")
    reached, dilation, stages = stem_stride, 1, []
    for stride in strides:
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        reached *= stride
        stages.append((stride, dilation))
    return stages
