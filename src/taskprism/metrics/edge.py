r"""Validation loss of edge maps.

.. math:: \frac1{|V|} \sum_{p \in V} w\, y_p \log(1 + e^{-x_p}) + (1 - w)(1 - y_p) \log(1 + e^{x_p})

over all valid pixels of the data set, on *logits* x. The released meters of MTI-Net and InvPT feed
probabilities in their place, which keeps even a perfect map above 0.03; those numbers cannot be
compared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection


class EdgeSums(NamedTuple):
    r"""Sums over valid pixels, float64 scalars.

    Attributes:
        positive_loss: Of :math:`y \log(1 + e^{-x})`.
        negative_loss: Of :math:`(1 - y) \log(1 + e^{x})`.
        negatives: Of :math:`1 - y`.
        pixels: Number of pixels.
    """

    positive_loss: Tensor
    negative_loss: Tensor
    negatives: Tensor
    pixels: Tensor


def edge_sums(logits: Tensor, target: Tensor, valid: Tensor) -> EdgeSums:
    """Sum both halves of the loss, apart, so that the weight can be chosen at the end."""
    x, y = logits[valid].double(), target[valid].double()
    return EdgeSums(
        positive_loss=(y * F.softplus(-x)).sum(),
        negative_loss=((1 - y) * F.softplus(x)).sum(),
        negatives=(1 - y).sum(),
        pixels=x.new_tensor(x.numel()),
    )


class EdgeLoss(Metric):
    """Balanced binary cross-entropy over the data set.

    Args:
        positive_weight: :math:`w`; None takes the share of negatives in the whole data set, so
            that the number does not depend on the batch size.
        kwargs: See :class:`torchmetrics.Metric`.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    edge_sums: Tensor

    def __init__(self, positive_weight: float | None = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.positive_weight = positive_weight
        empty = torch.zeros(len(EdgeSums._fields), dtype=torch.float64)
        self.add_state("edge_sums", default=empty, dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        sums = torch.stack(edge_sums(logits, target, valid))
        self.edge_sums = self.edge_sums + sums.to(self.edge_sums.device)

    def compute(self) -> Tensor:
        """Scalar >= 0; NaN if nothing was ever valid."""
        sums = EdgeSums(*self.edge_sums.unbind())
        weight = self.positive_weight
        share = sums.negatives / sums.pixels if weight is None else weight
        return (share * sums.positive_loss + (1 - share) * sums.negative_loss) / sums.pixels


def edge_metrics(positive_weight: float | None = 0.95) -> MetricCollection:
    """``loss``."""
    return MetricCollection({"loss": EdgeLoss(positive_weight)}, compute_groups=[["loss"]])
