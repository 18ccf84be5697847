"""Disparity: how far each pixel moves to the other image of a stereo pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taskprism.tasks.base import register_task
from taskprism.tasks.depth import Depth, DepthMap, relative_difference
from taskprism.tasks.target import DenseTarget


class DisparityMap(DenseTarget):
    """Pixels along x, float32 ``(..., 1, H, W)``, >= 0; large is near.

    It is a length in the image, so zooming multiplies it, and so does a wider grid.
    """

    zero_is_label: ClassVar[bool] = False
    similar_within: ClassVar[float] = DepthMap.similar_within

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Multiply by ``factor``."""
        return values * factor

    @classmethod
    def after_resize(cls, values: Tensor, height_ratio: float, width_ratio: float) -> Tensor:
        """Multiply by ``width_ratio``."""
        return values * width_ratio

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """Relative to the larger of both, as for depth."""
        return relative_difference(first, second)


@register_task
@dataclass(frozen=True, kw_only=True)
class Disparity(Depth):
    """Disparity in pixels of the map's own width, or inverse depth; scored like depth."""

    name: str = "disparity"
    category_range: tuple[float, float] = (1.0, 100.0)

    kind: ClassVar[str] = "disparity"
    target_type: ClassVar[type[DenseTarget]] = DisparityMap
    larger_is_nearer: ClassVar[bool] = True
    unit: ClassVar[str] = "px"
