r"""Angles between predicted and labeled surface normals, pooled over all valid pixels.

The angle between unit vectors a and b is :math:`2\,\mathrm{atan2}(\|a - b\|, \|a + b\|)`, which
unlike the arc cosine is exact near 0 and 180 degrees (Kahan, 2006). Predictions and labels are
normalized to unit length first. A prediction of zero length has an error of 90 degrees.

The median needs the distribution. Storing every angle would take 5 GB on PASCAL-Context, so angles
are counted in 180 000 bins of 0.001 degrees, each with the sum of its angles. The result is exact
if each of the middle bins has one angle (or equal ones), and within 0.001 degrees otherwise.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.checks import check_choice
from taskprism.metrics.base import DenseMetric, SumsMetric, register_metric

BINS_PER_DEGREE = 1000


class AngleSums(NamedTuple):
    """Sums for all angle errors except the median; float64 scalars, additive over images.

    Example:
        >>> AngleSums._fields[0]
        'pixels'
    """

    pixels: Tensor
    degrees: Tensor
    squared_degrees: Tensor
    within_11_25: Tensor
    within_22_5: Tensor
    within_30: Tensor


def angles(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Angles at valid pixels.

    Args:
        prediction: ``(B, 3, H, W)``, any length.
        target: ``(B, 3, H, W)``, any length but zero where valid.
        valid: Boolean ``(B, 1, H, W)``.

    Returns:
        ``(N,)`` float64, degrees in [0, 180].

    Example:
        >>> right, up = torch.eye(3)[:2].view(2, 1, 3, 1, 1)
        >>> angles(right, up, torch.ones(1, 1, 1, 1, dtype=torch.bool)).round().item()
        90.0
    """
    mask = valid.squeeze(1)
    found, wanted = prediction.movedim(1, -1)[mask], target.movedim(1, -1)[mask]
    a, b = _unit(found.double()), _unit(wanted.double())
    apart, along = torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1)
    return torch.rad2deg(2 * torch.atan2(apart, along))


def angle_sums(degrees: Tensor) -> AngleSums:
    """Sum angles ``(N,)``; an angle equal to a threshold is not within it.

    Example:
        >>> angle_sums(torch.tensor([10.0, 30.0])).within_30.item()
        1.0
    """
    return AngleSums(
        pixels=degrees.new_tensor(degrees.numel()),
        degrees=degrees.sum(),
        squared_degrees=degrees.square().sum(),
        within_11_25=(degrees < 11.25).sum().double(),
        within_22_5=(degrees < 22.5).sum().double(),
        within_30=(degrees < 30).sum().double(),
    )


def angle_histogram(degrees: Tensor) -> Tensor:
    """Count angles ``(N,)`` in bins: ``(2, 180 * BINS_PER_DEGREE)``, counts and sums of angles.

    Example:
        >>> angle_histogram(torch.tensor([10.0, 30.0], dtype=torch.float64)).sum(dim=1).tolist()
        [2.0, 40.0]
    """
    bins = 180 * BINS_PER_DEGREE
    index = (degrees.nan_to_num() * BINS_PER_DEGREE).long().clamp(0, bins - 1)
    entries = torch.stack([torch.ones_like(degrees), degrees])
    return torch.zeros(2, bins, dtype=torch.float64, device=degrees.device).index_add(
        1, index, entries
    )


def median_from_histogram(histogram: Tensor) -> Tensor:
    """Median: the mean of the two middle angles, each replaced by the mean of its bin.

    The result is NaN if an angle was NaN, or if there is no angle.

    Example:
        >>> degrees = torch.tensor([10.0, 30.0, 80.0], dtype=torch.float64)
        >>> median_from_histogram(angle_histogram(degrees)).item()
        30.0
    """
    counts, sums = histogram
    reached = counts.long().cumsum(0)
    total = reached[-1]
    middle = torch.stack([(total - 1) // 2, total // 2])  # ranks from 0
    bins = torch.searchsorted(reached, middle, right=True).clamp(max=len(counts) - 1)
    nan_or_zero = 0 * sums.sum()  # NaN if a prediction was NaN
    return (sums[bins] / counts[bins]).mean() + nan_or_zero


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1, eps=1e-12)


class AngleMetric(SumsMetric):
    """Base of metrics that read :class:`AngleSums`; NaN without a valid pixel.

    Example:
        >>> AngleMetric.task_kinds
        ('normals',)
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("normals",)
    higher_is_better = False
    sums_type = AngleSums
    sums_state: ClassVar[str] = "angle_sums"

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, ``(B, 3, H, W)`` and ``valid`` ``(B, 1, H, W)``."""
        self.add(angle_sums(angles(prediction, target, valid)))


@register_metric
class MeanAngle(AngleMetric):
    """Mean angle.

    Example:
        >>> metric, labels = MeanAngle(), torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> metric.update(labels.flip(1), labels, labels[:, 2:] > 0)  # x instead of z
        >>> round(metric.compute().item(), 3)
        90.0
    """

    name: ClassVar[str] = "mean_angle"

    def compute(self) -> Tensor:
        """Scalar in degrees."""
        return self.sums.degrees / self.sums.pixels


@register_metric
class RmseAngle(AngleMetric):
    """Root of the mean squared angle.

    Example:
        >>> metric, labels = RmseAngle(), torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> metric.update(labels.flip(1), labels, labels[:, 2:] > 0)  # x instead of z
        >>> round(metric.compute().item(), 3)
        90.0
    """

    name: ClassVar[str] = "rmse_angle"

    def compute(self) -> Tensor:
        """Scalar in degrees."""
        return (self.sums.squared_degrees / self.sums.pixels).sqrt()


@register_metric
class WithinAngle(AngleMetric):
    """Share of pixels with an angle below a limit.

    Args:
        limit: A key of :attr:`limits`.
        kwargs: See :class:`torchmetrics.Metric`.

    Raises:
        UnknownNameError: There is no such limit.

    Example:
        >>> metric = WithinAngle("within_30")
        >>> labels = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> metric.update(labels.flip(1), labels, labels[:, 2:] > 0)  # x instead of z
        >>> round(metric.compute().item(), 3)
        0.0
    """

    name: ClassVar[str] = "within_angle"

    higher_is_better = True
    limits: ClassVar[tuple[str, ...]] = ("within_11_25", "within_22_5", "within_30")

    def __init__(self, limit: str = "within_11_25", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = check_choice("WithinAngle", "limit", limit, self.limits)

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return getattr(self.sums, self.limit) / self.sums.pixels


@register_metric
class MedianAngle(DenseMetric):
    """Median angle from a histogram; the text of the module describes its precision.

    Example:
        >>> metric, labels = MedianAngle(), torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> metric.update(labels.flip(1), labels, labels[:, 2:] > 0)  # x instead of z
        >>> round(metric.compute().item(), 3)
        90.0
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("normals",)
    name: ClassVar[str] = "median_angle"

    higher_is_better = False
    angle_histogram: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(2, 180 * BINS_PER_DEGREE, dtype=torch.float64)
        self.add_state("angle_histogram", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, ``(B, 3, H, W)`` and ``valid`` ``(B, 1, H, W)``."""
        counts = angle_histogram(angles(prediction, target, valid))
        self.angle_histogram = self.angle_histogram + counts.to(self.angle_histogram.device)

    def compute(self) -> Tensor:
        """Scalar in degrees; NaN without a valid pixel."""
        return median_from_histogram(self.angle_histogram)


def normals_metrics() -> MetricCollection:
    """Mean, median and RMSE angle in degrees, and fractions within 11.25, 22.5 and 30 degrees.

    Example:
        >>> sorted(normals_metrics())[:3]
        ['mean_angle', 'median_angle', 'rmse_angle']
    """
    on_sums: dict[str, Metric | MetricCollection] = {
        "mean_angle": MeanAngle(),
        "rmse_angle": RmseAngle(),
        **{limit: WithinAngle(limit) for limit in WithinAngle.limits},
    }
    groups = [list(on_sums), ["median_angle"]]
    return MetricCollection({**on_sums, "median_angle": MedianAngle()}, compute_groups=groups)
