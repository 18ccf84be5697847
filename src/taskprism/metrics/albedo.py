"""Albedo errors over the three values of all valid pixels.

``rmse`` and ``abs_error`` are pooled over the data set; ``rmse_image_mean`` is the RMSE of each
image, averaged over images (ASTMT), which is lower.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.metrics.base import DenseMetric, register_metric


class AlbedoSums(NamedTuple):
    """What albedo errors are made of; each a float64 scalar, additive over images."""

    squared: Tensor
    absolute: Tensor
    elements: Tensor
    images: Tensor
    image_rmse: Tensor


def albedo_sums(prediction: Tensor, target: Tensor, valid: Tensor) -> AlbedoSums:
    """Sum the errors of a batch, ``(B, 3, H, W)`` with ``valid`` ``(B, 1, H, W)``."""
    mask = valid.expand_as(target)
    difference = torch.where(mask, prediction.double() - target.double(), 0.0).flatten(1)
    elements = mask.flatten(1).sum(dim=1).double()
    squared = difference.square().sum(dim=1)
    return AlbedoSums(
        squared=squared.sum(),
        absolute=difference.abs().sum(),
        elements=elements.sum(),
        images=(elements > 0).sum().double(),
        image_rmse=(squared / elements.clamp(min=1)).sqrt().sum(),
    )


class AlbedoMetric(DenseMetric):
    """Holds :class:`AlbedoSums`; subclasses read them. ``compute`` is NaN if nothing was valid."""

    task_kinds: ClassVar[tuple[str, ...]] = ("albedo",)
    higher_is_better = False
    albedo_sums: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(len(AlbedoSums._fields), dtype=torch.float64)
        self.add_state("albedo_sums", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, ``(B, 3, H, W)`` and ``valid`` ``(B, 1, H, W)``."""
        sums = torch.stack(albedo_sums(prediction, target, valid))
        self.albedo_sums = self.albedo_sums + sums.to(self.albedo_sums.device)

    @property
    def sums(self) -> AlbedoSums:
        """The state by name."""
        return AlbedoSums(*self.albedo_sums.unbind())


@register_metric
class AlbedoRmse(AlbedoMetric):
    """Root of the mean squared error, pooled over images."""

    name: ClassVar[str] = "albedo_rmse"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return (self.sums.squared / self.sums.elements).sqrt()


@register_metric
class AlbedoImageRmse(AlbedoMetric):
    """Mean over images of each image's RMSE; images without a valid pixel do not count."""

    name: ClassVar[str] = "albedo_rmse_image_mean"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return self.sums.image_rmse / self.sums.images


@register_metric
class AlbedoAbsoluteError(AlbedoMetric):
    """Mean absolute error."""

    name: ClassVar[str] = "albedo_abs_error"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return self.sums.absolute / self.sums.elements


def albedo_metrics() -> MetricCollection:
    """``rmse``, ``rmse_image_mean`` and ``abs_error``."""
    metrics: dict[str, Metric | MetricCollection] = {
        "rmse": AlbedoRmse(),
        "rmse_image_mean": AlbedoImageRmse(),
        "abs_error": AlbedoAbsoluteError(),
    }
    return MetricCollection(metrics, compute_groups=[list(metrics)])
