r"""Errors of depth and albedo.

Over all valid pixels of the data set, with label :math:`d` and prediction :math:`\hat d`:

* ``rmse`` :math:`\sqrt{\mathrm{mean} (d - \hat d)^2}`, in meters for depth, *pooled over pixels*
  (MTI-Net, ATRC, InvPT, TPIM);
* ``rmse_image_mean``: the RMSE of each image, averaged over images (ASTMT), systematically lower;
* ``log_rmse``: the same as ``rmse`` on natural logarithms;
* ``abs_error`` :math:`\mathrm{mean} |d - \hat d|`, ``rel_error``
  :math:`\mathrm{mean} |d - \hat d| / d`;
* ``delta1..3``: share of pixels with :math:`\max(d / \hat d, \hat d / d) < 1.25^k` (Eigen et al.,
  NeurIPS 2014).

Logarithms and quotients replace predictions below 1e-9 by 1e-9. A valid label of 0 counts in
``rmse`` and ``abs_error`` only, because no error is relative to it. Albedo has ``rmse``,
``rmse_image_mean`` and ``abs_error``, over its three channels.

Errors up to scale multiply the prediction for each image by :math:`s = \mathrm{med}(d) /
\mathrm{med}(\hat d)`, the medians over its valid pixels, and clip :math:`\hat d' = s \hat d` to
0.001 to 80 m, as DenseMTL (WACV 2023) and papers on self-supervised depth do:

* ``rmse_median_scaled`` :math:`\sqrt{\mathrm{mean}_i\, \mathrm{mean}_p (d - \hat d')^2}`;
* ``rel_error_median_scaled``: mean over images of the mean of :math:`|d - \hat d'| / d`.

A network that is wrong by a constant factor then gets a perfect score, so do not compare these
numbers with the errors above.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.checks import check_integer
from taskprism.metrics.base import SumsMetric, register_metric

SMALLEST_PREDICTION = 1e-9
NEAREST, FARTHEST = 1e-3, 80.0  # meters, of median-scaled predictions


class ErrorSums(NamedTuple):
    """Sums of the errors that depth and albedo share; float64 scalars, additive over images.

    Attributes:
        elements: Valid pixels times channels.
        squared: Squared errors.
        absolute: Absolute errors.
        images: Images with a valid pixel.
        image_rmse: Root mean squared errors of single images.

    Example:
        >>> ErrorSums._fields[0]
        'elements'
    """

    elements: Tensor
    squared: Tensor
    absolute: Tensor
    images: Tensor
    image_rmse: Tensor


def error_sums(prediction: Tensor, target: Tensor, valid: Tensor) -> ErrorSums:
    """Sum the errors of a batch ``(B, C, H, W)`` with ``valid`` ``(B, 1, H, W)``.

    Example:
        >>> target, valid = torch.ones(1, 3, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
        >>> error_sums(target + 0.5, target, valid).elements.item()
        12.0
    """
    mask = valid.expand_as(target)
    difference = torch.where(mask, prediction.double() - target.double(), 0.0).flatten(1)
    elements = mask.flatten(1).sum(dim=1).double()
    squared = difference.square().sum(dim=1)
    return ErrorSums(
        elements=elements.sum(),
        squared=squared.sum(),
        absolute=difference.abs().sum(),
        images=(elements > 0).sum().double(),
        image_rmse=(squared / elements.clamp(min=1)).sqrt().sum(),
    )


class RmseMetric(SumsMetric):
    """Root of the mean squared error, pooled over pixels.

    Example:
        >>> issubclass(DepthRmse, RmseMetric)
        True
    """

    def compute(self) -> Tensor:
        """Scalar in the unit of the labels; NaN without a valid pixel."""
        return (self.sums.squared / self.sums.elements).sqrt()


class ImageRmseMetric(SumsMetric):
    """Mean over images of the RMSE of each image; images without a valid pixel do not count.

    Example:
        >>> issubclass(AlbedoImageRmse, ImageRmseMetric)
        True
    """

    def compute(self) -> Tensor:
        """Scalar in the unit of the labels; NaN without a valid pixel."""
        return self.sums.image_rmse / self.sums.images


class AbsoluteErrorMetric(SumsMetric):
    """Mean absolute error.

    Example:
        >>> issubclass(DepthAbsoluteError, AbsoluteErrorMetric)
        True
    """

    def compute(self) -> Tensor:
        """Scalar in the unit of the labels; NaN without a valid pixel."""
        return self.sums.absolute / self.sums.elements


class DepthSums(NamedTuple):
    """Sums of all depth errors: those of :class:`ErrorSums`, and of relative errors.

    The latter are over pixels with a label above 0.

    Example:
        >>> len(DepthSums._fields)
        11
    """

    elements: Tensor
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

    Example:
        >>> target, valid = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
        >>> depth_sums(target + 0.5, target, valid).absolute.item()
        2.0
    """
    positive = valid & (target > 0)
    wanted = torch.where(positive, target.double(), 1.0)
    found = torch.where(positive, prediction.double(), 1.0)
    guess = found.clamp(min=SMALLEST_PREDICTION)
    log_ratio = guess.log() - wanted.log()
    ratio = torch.maximum(guess / wanted, wanted / guess)
    return DepthSums(
        *error_sums(prediction, target, valid),
        positive_pixels=positive.sum().double(),
        squared_log=log_ratio.square().sum(),
        relative=((found - wanted).abs() / wanted).sum(),
        within1=((ratio < 1.25) & positive).sum().double(),
        within2=((ratio < 1.25**2) & positive).sum().double(),
        within3=((ratio < 1.25**3) & positive).sum().double(),
    )


class DepthMetric(SumsMetric):
    """Base of metrics that read :class:`DepthSums`; NaN without a valid pixel.

    Example:
        >>> DepthMetric.task_kinds
        ('depth',)
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("depth",)
    higher_is_better = False
    sums_type = DepthSums
    sums_state: ClassVar[str] = "depth_sums"

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        self.add(depth_sums(prediction, target, valid))


@register_metric
class DepthRmse(DepthMetric, RmseMetric):
    """Root of the mean squared error, pooled over pixels.

    Example:
        >>> metric, labels = DepthRmse(), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "depth_rmse"


@register_metric
class DepthImageRmse(DepthMetric, ImageRmseMetric):
    """Mean over images of the RMSE of each image; images without a valid pixel do not count.

    Example:
        >>> metric, labels = DepthImageRmse(), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "depth_rmse_image_mean"


@register_metric
class DepthAbsoluteError(DepthMetric, AbsoluteErrorMetric):
    """Mean absolute error.

    Example:
        >>> metric, labels = DepthAbsoluteError(), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "depth_abs_error"


@register_metric
class DepthLogRmse(DepthMetric):
    """Root of the mean squared difference of natural logarithms.

    Example:
        >>> metric, labels = DepthLogRmse(), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> round(metric.compute().item(), 3)
        0.405
    """

    name: ClassVar[str] = "depth_log_rmse"

    def compute(self) -> Tensor:
        """Scalar without unit."""
        return (self.sums.squared_log / self.sums.positive_pixels).sqrt()


@register_metric
class DepthRelativeError(DepthMetric):
    """Mean absolute error relative to the label.

    Example:
        >>> metric, labels = DepthRelativeError(), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

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

    Raises:
        InputError: ``power`` is another value.

    Example:
        >>> metric, labels = DepthDelta(power=2), torch.ones(2, 1, 4, 4)
        >>> metric.update(labels + 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        1.0
    """

    name: ClassVar[str] = "depth_delta"

    higher_is_better = True
    powers: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(self, power: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = check_integer("DepthDelta", "power", power, 1, 3)

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        within = (self.sums.within1, self.sums.within2, self.sums.within3)[self.power - 1]
        return within / self.sums.positive_pixels


class ScaledSums(NamedTuple):
    """Sums of errors up to scale; float64 scalars, additive over images.

    Attributes:
        squared: Mean squared errors of single images.
        relative: Mean relative errors of single images.
        images: Images with a label above 0.

    Example:
        >>> ScaledSums._fields
        ('squared', 'relative', 'images')
    """

    squared: Tensor
    relative: Tensor
    images: Tensor


class MedianScaledMetric(SumsMetric):
    """Base of metrics that read :class:`ScaledSums`; NaN without a valid pixel.

    Example:
        >>> MedianScaledMetric.higher_is_better
        False
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("depth",)
    higher_is_better = False
    sums_type = ScaledSums
    sums_state: ClassVar[str] = "scaled_sums"

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``; labels of 0 or less do not count."""
        for found, wanted, mask in zip(prediction, target, valid & (target > 0), strict=True):
            if mask.any():
                d = wanted[mask].double()
                guess = found[mask].double().clamp(min=0)
                scale = middle(d) / middle(guess).clamp(min=1e-12)
                error = d - (guess * scale).clamp(NEAREST, FARTHEST)
                relative = (error.abs() / d).mean()
                self.add(ScaledSums(error.square().mean(), relative, d.new_tensor(1.0)))


def middle(values: Tensor) -> Tensor:
    """Median of ``(N,)``; the mean of the two middle values if N is even.

    Example:
        >>> middle(torch.tensor([1.0, 2.0, 4.0, 9.0])).item()
        3.0
    """
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


@register_metric
class MedianScaledRmse(MedianScaledMetric):
    """Root of the mean over images of each image's mean squared error.

    Example:
        >>> metric, labels = MedianScaledRmse(), torch.ones(2, 1, 4, 4)
        >>> metric.update(3 * labels, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.0
    """

    name: ClassVar[str] = "rmse_median_scaled"

    def compute(self) -> Tensor:
        """Scalar in meters; NaN if nothing was ever valid."""
        return (self.sums.squared / self.sums.images).sqrt()


@register_metric
class MedianScaledRelativeError(MedianScaledMetric):
    """Mean over images of each image's mean relative error.

    Example:
        >>> metric, labels = MedianScaledRelativeError(), torch.ones(2, 1, 4, 4)
        >>> metric.update(3 * labels, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.0
    """

    name: ClassVar[str] = "rel_error_median_scaled"

    def compute(self) -> Tensor:
        """Scalar without unit; NaN if nothing was ever valid."""
        return self.sums.relative / self.sums.images


def depth_metrics(median_scaled: bool = False) -> MetricCollection:
    """All depth errors, and if ``median_scaled`` the errors up to scale.

    Example:
        >>> sorted(depth_metrics())[:4]
        ['abs_error', 'delta1', 'delta2', 'delta3']
    """
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


class AlbedoSums(NamedTuple):
    """The sums of :class:`ErrorSums` in the order in which runs store them.

    Example:
        >>> AlbedoSums._fields[0]
        'squared'
    """

    squared: Tensor
    absolute: Tensor
    elements: Tensor
    images: Tensor
    image_rmse: Tensor


class AlbedoMetric(SumsMetric):
    """Base of metrics that read :class:`AlbedoSums`; NaN without a valid pixel.

    Example:
        >>> AlbedoMetric.task_kinds
        ('albedo',)
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("albedo",)
    higher_is_better = False
    sums_type = AlbedoSums
    sums_state: ClassVar[str] = "albedo_sums"

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, ``(B, 3, H, W)`` and ``valid`` ``(B, 1, H, W)``."""
        self.add(AlbedoSums(**error_sums(prediction, target, valid)._asdict()))


@register_metric
class AlbedoRmse(AlbedoMetric, RmseMetric):
    """Root of the mean squared error, pooled over pixels and channels, in [0, 1].

    Example:
        >>> metric, labels = AlbedoRmse(), torch.ones(2, 3, 4, 4)
        >>> metric.update(labels - 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "albedo_rmse"


@register_metric
class AlbedoImageRmse(AlbedoMetric, ImageRmseMetric):
    """Mean over images of the RMSE of each image; images without a valid pixel do not count.

    Example:
        >>> metric, labels = AlbedoImageRmse(), torch.ones(2, 3, 4, 4)
        >>> metric.update(labels - 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "albedo_rmse_image_mean"


@register_metric
class AlbedoAbsoluteError(AlbedoMetric, AbsoluteErrorMetric):
    """Mean absolute error, in [0, 1].

    Example:
        >>> metric, labels = AlbedoAbsoluteError(), torch.ones(2, 3, 4, 4)
        >>> metric.update(labels - 0.5, labels, labels[:, :1] > 0)
        >>> metric.compute().item()
        0.5
    """

    name: ClassVar[str] = "albedo_abs_error"


def albedo_metrics() -> MetricCollection:
    """``rmse``, ``rmse_image_mean`` and ``abs_error``.

    Example:
        >>> sorted(albedo_metrics())
        ['abs_error', 'rmse', 'rmse_image_mean']
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "rmse": AlbedoRmse(),
        "rmse_image_mean": AlbedoImageRmse(),
        "abs_error": AlbedoAbsoluteError(),
    }
    return MetricCollection(metrics, compute_groups=[list(metrics)])
