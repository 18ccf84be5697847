r"""Depth errors.

Over all valid pixels of the data set, with label :math:`d` and prediction :math:`\hat d`:

* ``rmse`` :math:`\sqrt{\mathrm{mean} (d - \hat d)^2}` in meters, *pooled over pixels* (MTI-Net,
  ATRC, InvPT, TPIM);
* ``rmse_image_mean``: the RMSE of each image, averaged over images (ASTMT), systematically lower;
* ``log_rmse``: the same as ``rmse`` on natural logarithms;
* ``abs_error`` :math:`\mathrm{mean} |d - \hat d|`, ``rel_error``
  :math:`\mathrm{mean} |d - \hat d| / d`;
* ``delta1..3``: share of pixels with :math:`\max(d / \hat d, \hat d / d) < 1.25^k` (Eigen et al.,
  NeurIPS 2014).

Logarithms and quotients replace predictions below 1e-9 by 1e-9. A valid label of 0 counts in
``rmse`` and ``abs_error`` only, because no error is relative to it.

Errors up to scale multiply each image's prediction by :math:`s = \mathrm{med}(d) /
\mathrm{med}(\hat d)`, the medians over its valid pixels, and clip :math:`\hat d' = s \hat d` to
0.001 to 80 m, as DenseMTL (WACV 2023) and papers on self-supervised depth do:

* ``rmse_median_scaled`` :math:`\sqrt{\mathrm{mean}_i\, \mathrm{mean}_p (d - \hat d')^2}`;
* ``rel_error_median_scaled``: mean over images of each image's mean :math:`|d - \hat d'| / d`.

A network that is wrong by a constant factor scores as if it were right, so do not compare these
numbers with the errors above.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.metrics.base import DenseMetric, register_metric

SMALLEST_PREDICTION = 1e-9
NEAREST, FARTHEST = 1e-3, 80.0  # meters, of median-scaled predictions


class DepthSums(NamedTuple):
    """What all depth errors are made of; each a float64 scalar, additive over images."""

    pixels: Tensor
    squared: Tensor
    absolute: Tensor
    images: Tensor
    image_rmse: Tensor
    positive_pixels: Tensor
    squared_log: Tensor
    relative: Tensor
    within1: Tensor
    within2: Tensor
    within3: Tensor


def depth_sums(prediction: Tensor, target: Tensor, valid: Tensor) -> DepthSums:
    """Sum the errors of a batch.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``, >= 0 where valid.
        valid: Boolean ``(B, 1, H, W)``.
    """
    valid = valid.flatten(1)
    wanted = torch.where(valid, target.flatten(1).double(), 1.0)
    found = torch.where(valid, prediction.flatten(1).double(), 1.0)
    difference = found - wanted  # 0 where invalid
    image_pixels = valid.sum(dim=1).double()
    image_squared = difference.square().sum(dim=1)
    labeled = image_pixels > 0
    positive = valid & (wanted > 0)
    wanted = torch.where(positive, wanted, 1.0)
    guess = torch.where(positive, found.clamp(min=SMALLEST_PREDICTION), 1.0)
    log_ratio = guess.log() - wanted.log()
    ratio = torch.maximum(guess / wanted, wanted / guess)
    relative = torch.where(positive, difference.abs() / wanted, 0.0)
    return DepthSums(
        pixels=image_pixels.sum(),
        squared=image_squared.sum(),
        absolute=difference.abs().sum(),
        images=labeled.sum().double(),
        image_rmse=(image_squared / image_pixels.clamp(min=1)).sqrt().sum(),
        positive_pixels=positive.sum().double(),
        squared_log=log_ratio.square().sum(),
        relative=relative.sum(),
        within1=((ratio < 1.25) & positive).sum().double(),
        within2=((ratio < 1.25**2) & positive).sum().double(),
        within3=((ratio < 1.25**3) & positive).sum().double(),
    )


class DepthMetric(DenseMetric):
    """Holds :class:`DepthSums`; subclasses read them. ``compute`` is NaN if nothing was valid."""

    task_kinds: ClassVar[tuple[str, ...]] = ("depth",)
    higher_is_better = False
    depth_sums: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(len(DepthSums._fields), dtype=torch.float64)
        self.add_state("depth_sums", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        sums = torch.stack(depth_sums(prediction, target, valid))
        self.depth_sums = self.depth_sums + sums.to(self.depth_sums.device)

    @property
    def sums(self) -> DepthSums:
        """The state by name."""
        return DepthSums(*self.depth_sums.unbind())


@register_metric
class DepthRmse(DepthMetric):
    """Root of the mean squared error, pooled over pixels."""

    name: ClassVar[str] = "depth_rmse"

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return (self.sums.squared / self.sums.pixels).sqrt()


@register_metric
class DepthImageRmse(DepthMetric):
    """Mean over images of each image's RMSE; images without a valid pixel do not count."""

    name: ClassVar[str] = "depth_rmse_image_mean"

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return self.sums.image_rmse / self.sums.images


@register_metric
class DepthLogRmse(DepthMetric):
    """Root of the mean squared difference of natural logarithms."""

    name: ClassVar[str] = "depth_log_rmse"

    def compute(self) -> Tensor:
        """Scalar without unit."""
        return (self.sums.squared_log / self.sums.positive_pixels).sqrt()


@register_metric
class DepthAbsoluteError(DepthMetric):
    """Mean absolute error."""

    name: ClassVar[str] = "depth_abs_error"

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return self.sums.absolute / self.sums.pixels


@register_metric
class DepthRelativeError(DepthMetric):
    """Mean absolute error relative to the label."""

    name: ClassVar[str] = "depth_rel_error"

    def compute(self) -> Tensor:
        """Scalar without unit."""
        return self.sums.relative / self.sums.positive_pixels


@register_metric
class DepthDelta(DepthMetric):
    """Share of pixels whose ratio to the label is below ``1.25 ** power``.

    Args:
        power: 1, 2 or 3.
        kwargs: See :class:`torchmetrics.Metric`.
    """

    name: ClassVar[str] = "depth_delta"

    higher_is_better = True
    powers: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, power: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        within = (self.sums.within1, self.sums.within2, self.sums.within3)[self.power - 1]
        return within / self.sums.positive_pixels


class MedianScaledMetric(DenseMetric):
    """Holds sums over images of squared and relative errors; subclasses read them."""

    task_kinds: ClassVar[tuple[str, ...]] = ("depth",)
    higher_is_better = False
    scaled_sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        empty = torch.zeros(3, dtype=torch.float64)
        self.add_state("scaled_sums", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``; labels of 0 or less do not count."""
        sums = self.scaled_sums.new_zeros(3)
        for found, wanted, mask in zip(prediction, target, valid & (target > 0), strict=True):
            if mask.any():
                d = wanted[mask].double()
                guess = found[mask].double().clamp(min=0)
                scale = middle(d) / middle(guess).clamp(min=1e-12)
                error = d - (guess * scale).clamp(NEAREST, FARTHEST)
                image = [error.square().mean(), (error.abs() / d).mean(), d.new_tensor(1.0)]
                sums = sums + torch.stack(image).to(sums.device)
        self.scaled_sums = self.scaled_sums + sums


def middle(values: Tensor) -> Tensor:
    """Median of ``(N,)``; of an even number the mean of the two in the middle."""
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


@register_metric
class MedianScaledRmse(MedianScaledMetric):
    """Root of the mean over images of each image's mean squared error."""

    name: ClassVar[str] = "rmse_median_scaled"

    def compute(self) -> Tensor:
        """Scalar in meters; NaN if nothing was ever valid."""
        return (self.scaled_sums[0] / self.scaled_sums[2]).sqrt()


@register_metric
class MedianScaledRelativeError(MedianScaledMetric):
    """Mean over images of each image's mean relative error."""

    name: ClassVar[str] = "rel_error_median_scaled"

    def compute(self) -> Tensor:
        """Scalar without unit; NaN if nothing was ever valid."""
        return self.scaled_sums[1] / self.scaled_sums[2]


def depth_metrics(median_scaled: bool = False) -> MetricCollection:
    """All depth errors on shared sums; on request those up to scale."""
    metrics: dict[str, Metric | MetricCollection] = {
        "rmse": DepthRmse(),
        "rmse_image_mean": DepthImageRmse(),
        "log_rmse": DepthLogRmse(),
        "abs_error": DepthAbsoluteError(),
        "rel_error": DepthRelativeError(),
        **{f"delta{power}": DepthDelta(power) for power in DepthDelta.powers},
    }
    groups = [list(metrics)]
    if median_scaled:
        scaled: dict[str, Metric | MetricCollection] = {
            "rmse_median_scaled": MedianScaledRmse(),
            "rel_error_median_scaled": MedianScaledRelativeError(),
        }
        metrics |= scaled
        groups.append(list(scaled))
    return MetricCollection(metrics, compute_groups=groups)
