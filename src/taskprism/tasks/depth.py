"""Depth in meters along the viewing axis, and its relatives: disparity and inverse depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.errors import InputError
from taskprism.metrics.regression import depth_metrics
from taskprism.tasks import losses
from taskprism.tasks.base import CATEGORIES, Task, register_task
from taskprism.tasks.colors import ColorScale, Legend, color_range, scale_colors, value_range
from taskprism.tasks.target import DenseTarget


class DistanceMap(DenseTarget):
    """Base of maps of distances: values >= 0 that are compared by their ratio."""

    zero_is_label: ClassVar[bool] = False
    similar_within: ClassVar[float] = 0.05

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """``|a - b| / max(a, b)``, in [0, 1]; 0 where both are 0.

        A ratio is the same for depth and for its inverse.
        """
        larger = torch.maximum(first, second).clamp(min=torch.finfo(torch.float32).tiny)
        return (first - second).abs() / larger


class DepthMap(DistanceMap):
    """Meters, float32 ``(..., 1, H, W)``, >= 0.

    Enlarging an image is like moving closer by the same factor, so a zoom divides depth. Sampling
    the same view on another grid does not change it.
    """

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Divide by ``factor``."""
        return values / factor


class InverseDepthMap(DistanceMap):
    """Proportional to 1 / depth, float32 ``(..., 1, H, W)``, >= 0; near objects have large values.

    A zoom multiplies it. Unlike a disparity in pixels it does not change when the same view is
    sampled on another grid.
    """

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Multiply by ``factor``."""
        return values * factor


class DisparityMap(InverseDepthMap):
    """Pixels along x, float32 ``(..., 1, H, W)``, >= 0; large is near.

    It is a length in the image, so a zoom multiplies it, and so does a wider grid.
    """

    @classmethod
    def after_resize(cls, values: Tensor, height_ratio: float, width_ratio: float) -> Tensor:
        """Multiply by ``width_ratio``."""
        return values * width_ratio


def mean_on_log_scale(logits: Tensor, smallest: float, largest: float) -> Tensor:
    """Geometric mean of the centers of ``CATEGORIES`` logarithmic bins, weighted by probability.

    Args:
        logits: Class logits ``(B, CATEGORIES, H, W)``.
        smallest: Lower end of the first bin, above 0.
        largest: Upper end of the last bin.

    Returns:
        ``(B, 1, H, W)`` in [smallest, largest].
    """
    step = math.log(largest / smallest) / CATEGORIES
    places = torch.arange(CATEGORIES, device=logits.device, dtype=logits.dtype) + 0.5
    centers = math.log(smallest) + step * places
    weighted = logits.softmax(dim=1) * centers.view(-1, 1, 1)
    return weighted.sum(dim=1, keepdim=True).exp()


@register_task
@dataclass(frozen=True, kw_only=True)
class Depth(Task):
    """Depth in meters.

    Attributes:
        loss_name: ``"l1"``, or ``"l1_gradient"`` for ASTMT's, which adds the L1 of the gradients.
        category_range: Smallest and largest value that the logarithmic classes tell apart. The
            default is for rooms and streets; ATRC takes (0.7, 10) on NYUD-v2.
        median_scaled: Add errors after each prediction was brought to its label's median
            (DenseMTL), ``rmse_median_scaled`` and ``rel_error_median_scaled``.
    """

    name: str = "depth"
    channels: int = 1
    loss_name: Literal["l1", "l1_gradient"] = "l1"
    category_range: tuple[float, float] = (0.2, 80.0)
    primary_metric: str = "rmse"
    median_scaled: bool = False

    kind: ClassVar[str] = "depth"
    target_type: ClassVar[type[DenseTarget]] = DepthMap
    larger_is_nearer: ClassVar[bool] = False
    unit: ClassVar[str] = "m"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(1)
        self._check_choice("loss_name", ("l1", "l1_gradient"))
        smallest, largest = self.category_range
        if not 0 < smallest < largest:
            raise InputError(
                f"Task {self.name!r}: category_range {self.category_range} must rise from above 0."
            )

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """See :func:`taskprism.tasks.losses.l1` and ``l1_gradient``."""
        function = losses.l1 if self.loss_name == "l1" else losses.l1_gradient
        return function(output, target, valid)

    def decode(self, output: Tensor) -> Tensor:
        """The output, not below 0."""
        return output.clamp(min=0)

    @property
    def categories(self) -> int:
        """Logarithmic bins of ``category_range``."""
        return CATEGORIES

    def from_categories(self, logits: Tensor) -> Tensor:
        """Mean of the bins' centers, see :func:`mean_on_log_scale`."""
        return mean_on_log_scale(logits, *self.category_range)

    def metrics(self) -> MetricCollection:
        """Errors pooled over pixels, RMSE as mean over images too, and threshold accuracies."""
        return depth_metrics(self.median_scaled)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Near bright, far dark, from the 1st to the 99th percentile of the positive values."""
        if reference is None:
            limits = value_range(values, valid)
        else:
            limits = value_range(reference, valid if reference.shape == values.shape else None)
        return color_range(values, valid, limits, reverse=not self.larger_is_nearer)

    def legend(self, values: Tensor, valid: Tensor | None = None) -> Legend | None:
        """The color scale of :meth:`color`."""
        colors = scale_colors(np.linspace(0, 1, 256), reverse=not self.larger_is_nearer)
        return ColorScale(colors, *value_range(values, valid), unit=self.unit)

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Say if a valid value is not finite or negative."""
        values = target[valid]
        if not values.isfinite().all():
            return f"{int((~values.isfinite()).sum())} valid values are not finite"
        if (values < 0).any():
            return f"valid values go down to {values.min().item():g}; they must not be negative"
        return None


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


@register_task
@dataclass(frozen=True, kw_only=True)
class InverseDepth(Disparity):
    """Inverse depth without a unit (MTAN's Cityscapes: 16-bit disparity / 65535)."""

    name: str = "inverse_depth"
    category_range: tuple[float, float] = (0.005, 0.5)

    kind: ClassVar[str] = "inverse_depth"
    target_type: ClassVar[type[DenseTarget]] = InverseDepthMap
    unit: ClassVar[str] = ""
