"""Depth in meters along the viewing axis, disparity and inverse depth."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.checks import check_number
from taskprism.errors import InputError
from taskprism.metrics.regression import depth_metrics
from taskprism.tasks.base import CATEGORIES, Task, register_task
from taskprism.tasks.colors import ColorScale, Legend, color_range, scale_colors, value_range
from taskprism.tasks.diagnostics import PixelError
from taskprism.tasks.losses import LabelKind
from taskprism.tasks.statistics import LabelStatistics, count_files
from taskprism.tasks.storage import Storage
from taskprism.tasks.target import DenseTarget


class DistanceMap(DenseTarget):
    """Base of maps of distances: values >= 0 that are compared by their ratio.

    Example:
        >>> import torch
        >>> from taskprism.tasks import DepthMap
        >>> DepthMap.difference(torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), 4.0)).item()
        0.5
    """

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

    Example:
        >>> import torch
        >>> from taskprism.tasks import DepthMap
        >>> DepthMap.after_zoom(torch.full((1, 1, 1), 3.0), 1.5).item()
        2.0
    """

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Divide by ``factor``."""
        return values / factor


class InverseDepthMap(DistanceMap):
    """Proportional to 1 / depth, float32 ``(..., 1, H, W)``, >= 0; near objects have large values.

    A zoom multiplies it. Unlike a disparity in pixels it does not change when the same view is
    sampled on another grid.

    Example:
        >>> import torch
        >>> from taskprism.tasks import InverseDepthMap
        >>> InverseDepthMap.after_zoom(torch.full((1, 1, 1), 2.0), 1.5).item()
        3.0
    """

    @classmethod
    def after_zoom(cls, values: Tensor, factor: float) -> Tensor:
        """Multiply by ``factor``."""
        return values * factor


class DisparityMap(InverseDepthMap):
    """Pixels along x, float32 ``(..., 1, H, W)``, >= 0; near objects have large values.

    It is a length in the image, so both a zoom and a wider grid multiply it.

    Example:
        >>> import torch
        >>> from taskprism.tasks import DisparityMap
        >>> DisparityMap.after_resize(torch.full((1, 1, 1), 8.0), 0.5, 0.5).item()
        4.0
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

    Example:
        >>> import torch
        >>> round(mean_on_log_scale(torch.zeros(1, 40, 1, 1), 1.0, 100.0).item(), 3)
        10.0
    """
    step = math.log(largest / smallest) / CATEGORIES
    places = torch.arange(CATEGORIES, device=logits.device, dtype=logits.dtype) + 0.5
    centers = math.log(smallest) + step * places
    weighted = logits.softmax(dim=1) * centers.view(-1, 1, 1)
    return weighted.sum(dim=1, keepdim=True).exp()


def _absolute(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs()


def _relative(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).abs() / target.abs().clamp(min=torch.finfo(torch.float32).tiny)


@register_task
@dataclass(frozen=True, kw_only=True)
class Depth(Task):
    """Depth in meters.

    Attributes:
        losses: ``"l1"`` by default; ``"l1_gradient"`` adds the L1 loss of the gradients (ASTMT).
        category_range: Lower end of the first and upper end of the last logarithmic class, above 0
            and ascending. The default is for rooms and streets; ATRC uses (0.7, 10) on NYUD-v2.
        median_scaled: Add ``rmse_median_scaled`` and ``rel_error_median_scaled``, for which each
            prediction is scaled to the median of its label (DenseMTL).

    Raises:
        InputError: ``category_range`` is invalid, or there is more than one channel.
        UnknownNameError: There is no such loss.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> depth = create_task("depth", losses="l1_gradient")
        >>> depth.decode(torch.full((1, 1, 2, 2), -1.0)).max().item()
        0.0
    """

    name: str = "depth"
    channels: int = 1
    category_range: tuple[float, float] = (0.2, 80.0)
    primary_metric: str = "rmse"
    median_scaled: bool = False

    kind: ClassVar[str] = "depth"
    target_type: ClassVar[type[DenseTarget]] = DepthMap
    label_kind: ClassVar[LabelKind] = "distance"
    default_losses: ClassVar[str] = "l1"
    is_depth: ClassVar[bool] = True
    hub_tag: ClassVar[str] = "depth-estimation"
    larger_is_nearer: ClassVar[bool] = False
    unit: ClassVar[str] = "m"
    plausible_median: ClassVar[tuple[float, float]] = (0.05, 500.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(1)
        if not isinstance(self.category_range, tuple | list) or len(self.category_range) != 2:
            raise InputError(
                f"{self._owner}: category_range must be two numbers, the smallest and the largest "
                f"value, got {self.category_range!r}."
            )
        smallest = check_number(self._owner, "category_range[0]", self.category_range[0], above=0)
        check_number(self._owner, "category_range[1]", self.category_range[1], above=smallest)

    @property
    def smallest_value(self) -> float:
        """Lower end of ``category_range``."""
        return self.category_range[0]

    def decode(self, output: Tensor) -> Tensor:
        """The output, clipped to values >= 0."""
        return output.clamp(min=0)

    @property
    def storage(self) -> Storage | None:
        """16-bit millimeters up to 65.5 m; 0 where there is no label."""
        return Storage(missing=0, scale="1/1000", bits=16)

    @property
    def categories(self) -> int:
        """Number of logarithmic bins of ``category_range``."""
        return CATEGORIES

    def from_categories(self, logits: Tensor) -> Tensor:
        """Mean of the bins' centers, see :func:`mean_on_log_scale`."""
        return mean_on_log_scale(logits, *self.category_range)

    def metrics(self) -> MetricCollection:
        """Errors pooled over pixels, the mean RMSE of images, and threshold accuracies."""
        return depth_metrics(self.median_scaled)

    def pixel_errors(self) -> tuple[PixelError, ...]:
        """Absolute error, and relative to the label."""
        return (
            PixelError("absolute error", _absolute, self.unit),
            PixelError("relative error", _relative),
        )

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Near is bright, far is dark; the scale spans the 1st to 99th percentile of values > 0."""
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
        """Report valid values that are negative or not finite."""
        values = target[valid]
        if not values.isfinite().all():
            return f"{int((~values.isfinite()).sum())} valid values are not finite"
        if (values < 0).any():
            return f"valid values go down to {values.min().item():g}; they must not be negative"
        return None

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """Report values of exactly 0, and a median that depth in meters cannot have."""
        found = []
        if labels.zeros:
            found.append(
                f"{count_files(labels.zeros)} have a {self.kind} of exactly 0, which counts as a "
                f"label. If 0 means 'not measured', set tasks.{self.name}.ignore: [0]"
            )
        low, high = self.plausible_median
        median = statistics.median(labels.medians) if labels.medians else low
        if not low <= median <= high:
            found.append(
                f"the median {self.kind} of {len(labels.names)} labels is {median:.4g} "
                f"{self.unit}, outside {low:g} to {high:g} {self.unit}. Set "
                f"tasks.{self.name}.encoding.scale to {self.unit} per stored unit, such as 0.001 "
                "for millimeters"
            )
        return found


@register_task
@dataclass(frozen=True, kw_only=True)
class Disparity(Depth):
    """Disparity in pixels at the width of the map; metrics are those of depth.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("disparity").unit
        'px'
    """

    name: str = "disparity"
    category_range: tuple[float, float] = (1.0, 100.0)

    kind: ClassVar[str] = "disparity"
    target_type: ClassVar[type[DenseTarget]] = DisparityMap
    is_depth: ClassVar[bool] = False
    larger_is_nearer: ClassVar[bool] = True
    unit: ClassVar[str] = "px"
    plausible_median: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @property
    def storage(self) -> Storage | None:
        """16-bit, 256 steps per pixel, up to 256 pixels; 0 where there is no label."""
        return Storage(missing=0, scale="1/256", bits=16)


@register_task
@dataclass(frozen=True, kw_only=True)
class InverseDepth(Disparity):
    """Inverse depth without a unit (Cityscapes in MTAN: 16-bit disparity / 65535).

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("inverse_depth").category_range
        (0.005, 0.5)
    """

    name: str = "inverse_depth"
    category_range: tuple[float, float] = (0.005, 0.5)

    kind: ClassVar[str] = "inverse_depth"
    target_type: ClassVar[type[DenseTarget]] = InverseDepthMap
    unit: ClassVar[str] = ""

    @property
    def storage(self) -> Storage | None:
        """None: the values have no unit, so their range is not known."""
        return None

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """None: 0 is infinitely far, and there is no unit."""
        return []
