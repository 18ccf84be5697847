r"""Validation loss of edge maps, and boundary scores of their logits.

The loss is

.. math:: \frac1{|V|} \sum_{p \in V} w\, y_p \log(1 + e^{-x_p}) + (1 - w)(1 - y_p) \log(1 + e^{x_p})

over all valid pixels of the data set, on *logits* x. The released meters of MTI-Net and InvPT feed
probabilities in their place, which keeps even a perfect map above 0.03; those numbers cannot be
compared.

Targets are ``(B, 1 + A, H, W)``: first the map that networks are trained with, then those of A
annotators that the boundary scores are taken against, as benchmarks have them. An annotator who
has drawn nothing changes no count, so that images with fewer annotators are filled up with empty
maps; an image without any is scored against its first map, thinned as predictions are, and one with
-1 among them not at all.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.metrics.base import SumsMetric, register_metric
from taskprism.metrics.boundaries.conventions import BoundaryConvention
from taskprism.metrics.boundaries.metric import BoundaryAP, BoundaryMetric, OdsF, OisF
from taskprism.metrics.boundaries.thinning import thin


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


@register_metric
class EdgeLoss(SumsMetric):
    """Balanced binary cross-entropy over the data set.

    Args:
        positive_weight: :math:`w`; None takes the share of negatives in the whole data set, so
            that the number does not depend on the batch size.
        kwargs: See :class:`torchmetrics.Metric`.
    """

    name: ClassVar[str] = "edge_loss"

    task_kinds: ClassVar[tuple[str, ...]] = ("edge",)
    higher_is_better = False
    sums_type = EdgeSums
    sums_state: ClassVar[str] = "edge_sums"

    def __init__(self, positive_weight: float | None = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.positive_weight = positive_weight

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Weigh positives as the task's training loss does."""
        return cls(task.positive_weight)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch of logits ``(B, 1, H, W)``; the annotators of ``target`` are not read."""
        self.add(edge_sums(prediction, target[:, :1], valid))

    def compute(self) -> Tensor:
        """Scalar >= 0; NaN if nothing was ever valid."""
        sums = self.sums
        weight = self.positive_weight
        share = sums.negatives / sums.pixels if weight is None else weight
        return (share * sums.positive_loss + (1 - share) * sums.negative_loss) / sums.pixels


class _OfLogits(BoundaryMetric):
    """Boundary scores of logits against the annotators in the further channels of targets."""

    task_kinds: ClassVar[tuple[str, ...]] = ("edge",)

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Count by the convention of an edge task."""
        return cls(task.boundary_convention)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of logits; see this file's head for the channels of ``target``."""
        # A network that has diverged draws no boundary.
        probabilities = prediction.float().sigmoid().nan_to_num(0.0)
        annotations, scored = annotators(target)
        if valid is None:
            valid = torch.ones_like(target[:, :1], dtype=torch.bool)
        super().update(probabilities, annotations, valid & scored)


@register_metric
class LogitOdsF(_OfLogits, OdsF):
    """odsF of logits."""

    name: ClassVar[str] = "odsf"


@register_metric
class LogitOisF(_OfLogits, OisF):
    """oisF of logits."""

    name: ClassVar[str] = "oisf"


@register_metric
class LogitAP(_OfLogits, BoundaryAP):
    """AP of logits."""

    name: ClassVar[str] = "ap"


def annotators(target: Tensor) -> tuple[Tensor, Tensor]:
    """What boundary scores are taken against, from targets ``(B, 1 + A, H, W)``.

    Returns:
        Boundary maps ``(B, max(A, 1), H, W)``, and boolean ``(B, 1, 1, 1)``: which images are
        scored.
    """
    trained, drawn = target[:, :1], target[:, 1:]
    if not drawn.shape[1]:
        return _thinned(trained), torch.ones_like(trained[..., :1, :1], dtype=torch.bool)
    scored = (drawn >= 0).flatten(1).all(dim=1)[:, None, None, None]
    empty = (drawn <= 0).flatten(1).all(dim=1)[:, None, None, None]
    if not empty.any():
        return drawn, scored
    stand_in = torch.cat([_thinned(trained), torch.zeros_like(drawn[:, 1:])], dim=1)
    return torch.where(empty, stand_in, drawn), scored


def _thinned(maps: Tensor) -> Tensor:
    """Lines one pixel wide; soft labels are cut at one half."""
    lines = [thin(one) for one in maps[:, 0].detach().cpu().numpy() >= 0.5]
    return torch.from_numpy(np.stack(lines)).to(maps)[:, None]


def edge_metrics(
    positive_weight: float | None = 0.95, convention: BoundaryConvention | None = None
) -> MetricCollection:
    """``loss``, and with a convention ``odsf``, ``oisf`` and ``ap``, which share their counts."""
    metrics: dict[str, Metric | MetricCollection] = {"loss": EdgeLoss(positive_weight)}
    if convention is not None:
        metrics |= {
            "odsf": LogitOdsF(convention),
            "oisf": LogitOisF(convention),
            "ap": LogitAP(convention),
        }
    loss, *boundaries = metrics
    groups = [[loss], boundaries] if boundaries else [[loss]]
    return MetricCollection(metrics, compute_groups=groups)
