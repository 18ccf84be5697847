r"""Depth errors up to scale: each image's prediction is first brought to the label's median.

With :math:`s = \mathrm{med}(d) / \mathrm{med}(\hat d)` over an image's valid pixels and
:math:`\hat d' = s \hat d` cut to 0.001 to 80 m, as DenseMTL (WACV 2023) and papers on
self-supervised depth take them:

* ``rmse_median_scaled`` :math:`\sqrt{\mathrm{mean}_i\, \mathrm{mean}_p (d - \hat d')^2}`;
* ``rel_error_median_scaled``: mean over images of each image's mean :math:`|d - \hat d'| / d`.

A network that is wrong by a factor scores as if it were right, so that these numbers must not
stand beside those of :mod:`.depth`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

NEAREST, FARTHEST = 1e-3, 80.0  # meters


class MedianScaledMetric(Metric):
    """Holds sums over images of squared and relative errors; subclasses read them."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
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


class MedianScaledRmse(MedianScaledMetric):
    """Root of the mean over images of each image's mean squared error."""

    def compute(self) -> Tensor:
        """Scalar in meters; NaN if nothing was ever valid."""
        return (self.scaled_sums[0] / self.scaled_sums[2]).sqrt()


class MedianScaledRelativeError(MedianScaledMetric):
    """Mean over images of each image's mean relative error."""

    def compute(self) -> Tensor:
        """Scalar without unit; NaN if nothing was ever valid."""
        return self.scaled_sums[1] / self.scaled_sums[2]
