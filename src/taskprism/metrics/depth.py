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

Where a logarithm or quotient needs a positive prediction, 1e-9 stands for smaller ones. A valid
label of 0 counts in ``rmse`` and ``abs_error`` only, as nothing can be relative to it.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.metrics.depth_scaled import MedianScaledRelativeError, MedianScaledRmse

SMALLEST_PREDICTION = 1e-9


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


class DepthMetric(Metric):
    """Holds :class:`DepthSums`; subclasses read them. ``compute`` is NaN if nothing was valid."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
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


class DepthRmse(DepthMetric):
    """Root of the mean squared error, pooled over pixels."""

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return (self.sums.squared / self.sums.pixels).sqrt()


class DepthImageRmse(DepthMetric):
    """Mean over images of each image's RMSE; images without a valid pixel do not count."""

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return self.sums.image_rmse / self.sums.images


class DepthLogRmse(DepthMetric):
    """Root of the mean squared difference of natural logarithms."""

    def compute(self) -> Tensor:
        """Scalar without unit."""
        return (self.sums.squared_log / self.sums.positive_pixels).sqrt()


class DepthAbsoluteError(DepthMetric):
    """Mean absolute error."""

    def compute(self) -> Tensor:
        """Scalar in meters."""
        return self.sums.absolute / self.sums.pixels


class DepthRelativeError(DepthMetric):
    """Mean absolute error relative to the label."""

    def compute(self) -> Tensor:
        """Scalar without unit."""
        return self.sums.relative / self.sums.positive_pixels


class DepthDelta(DepthMetric):
    """Share of pixels whose ratio to the label is below ``1.25 ** power``.

    Args:
        power: 1, 2 or 3.
        kwargs: See :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    powers: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, power: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        within = (self.sums.within1, self.sums.within2, self.sums.within3)[self.power - 1]
        return within / self.sums.positive_pixels


def depth_metrics(median_scaled: bool = False) -> MetricCollection:
    """All depth errors on shared sums; those up to scale (:mod:`.depth_scaled`) where asked for."""
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
