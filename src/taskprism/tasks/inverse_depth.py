"""Inverse depth on a scale of its own, as preprocessed Cityscapes stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from taskprism.tasks.base import register_task
from taskprism.tasks.depth import DepthMap, relative_difference
from taskprism.tasks.disparity import Disparity
from taskprism.tasks.target import DenseTarget


class InverseDepthMap(DenseTarget):
    """Proportional to 1 / depth, float32 ``(..., 1, H, W)``, >= 0; large is near.

    Zooming brings things nearer and multiplies it. Unlike a disparity in pixels it does not change
    when the same view is sampled on another grid.
    """

    zero_is_label: ClassVar[bool] = False
    similar_within: ClassVar[float] = DepthMap.similar_within

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Multiply by ``factor``."""
        return values * factor

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """Relative to the larger of both, as for depth."""
        return relative_difference(first, second)


@register_task
@dataclass(frozen=True, kw_only=True)
class InverseDepth(Disparity):
    """Inverse depth without a unit (MTAN's Cityscapes: 16-bit disparity / 65535)."""

    name: str = "inverse_depth"
    category_range: tuple[float, float] = (0.005, 0.5)

    kind: ClassVar[str] = "inverse_depth"
    target_type: ClassVar[type[DenseTarget]] = InverseDepthMap
    unit: ClassVar[str] = ""
