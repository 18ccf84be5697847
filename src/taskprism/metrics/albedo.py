"""Albedo errors, pooled over the three values of all valid pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection


def error_sums(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared and absolute differences and their number over valid elements, ``(3,)`` float64."""
    mask = valid.expand_as(target)
    difference = prediction[mask].double() - target[mask].double()
    number = difference.new_tensor(difference.numel())
    return torch.stack([difference.square().sum(), difference.abs().sum(), number])


class AlbedoMetric(Metric):
    """Holds :func:`error_sums`; subclasses read them. ``compute`` is NaN if nothing was valid."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    albedo_sums: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(3, dtype=torch.float64)
        self.add_state("albedo_sums", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, ``(B, 3, H, W)`` and ``valid`` ``(B, 1, H, W)``."""
        sums = error_sums(prediction, target, valid)
        self.albedo_sums = self.albedo_sums + sums.to(self.albedo_sums.device)


class AlbedoRmse(AlbedoMetric):
    """Root of the mean squared error."""

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return (self.albedo_sums[0] / self.albedo_sums[2]).sqrt()


class AlbedoAbsoluteError(AlbedoMetric):
    """Mean absolute error."""

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return self.albedo_sums[1] / self.albedo_sums[2]


def albedo_metrics() -> MetricCollection:
    """``rmse`` and ``abs_error``."""
    metrics: dict[str, Metric | MetricCollection] = {
        "rmse": AlbedoRmse(),
        "abs_error": AlbedoAbsoluteError(),
    }
    return MetricCollection(metrics, compute_groups=[list(metrics)])
