r"""Validation loss of edge maps, and boundary scores of their logits.

The loss is

.. math:: \frac1{|V|} \sum_{p \in V} w\, y_p \log(1 + e^{-x_p}) + (1 - w)(1 - y_p) \log(1 + e^{x_p})

over all valid pixels of the data set, on *logits* x. The released code of MTI-Net and InvPT passes
probabilities instead, so that even a perfect map scores above 0.03. Those numbers cannot be
compared.

Targets are ``(B, 1 + A, H, W)``: first the map for training, then the maps of A annotators, which
boundary scores compare predictions with. An empty map of an annotator changes no count, so images
with fewer annotators are padded with empty maps. An image without annotators is compared with its
first map, thinned as predictions are. An image with a -1 in a map is not scored.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.checks import check_number
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

    Example:
        >>> EdgeSums._fields[-1]
        'pixels'
    """

    positive_loss: Tensor
    negative_loss: Tensor
    negatives: Tensor
    pixels: Tensor


def edge_sums(logits: Tensor, target: Tensor, valid: Tensor) -> EdgeSums:
    """Sum the loss of positives and negatives separately, as the weight is applied at the end.

    Example:
        >>> labels = torch.ones(1, 1, 2, 2)
        >>> edge_sums(0 * labels, labels, labels > 0).negatives.item()
        0.0
    """
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
        positive_weight: :math:`w` in [0, 1]; None uses the share of negatives in the whole data
            set, so that the score does not depend on the batch size.
        kwargs: See :class:`torchmetrics.Metric`.

    Raises:
        InputError: ``positive_weight`` is out of range.

    Example:
        >>> metric, labels = EdgeLoss(), torch.ones(1, 1, 2, 2)
        >>> metric.update(0 * labels, labels, labels > 0)
        >>> round(metric.compute().item(), 4)  # 0.95 log 2
        0.6585
    """

    name: ClassVar[str] = "edge_loss"

    task_kinds: ClassVar[tuple[str, ...]] = ("edge",)
    higher_is_better = False
    sums_type = EdgeSums
    sums_state: ClassVar[str] = "edge_sums"

    def __init__(self, positive_weight: float | None = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if positive_weight is not None:
            check_number("EdgeLoss", "positive_weight", positive_weight, 0, 1)
        self.positive_weight = positive_weight

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Use the weight of positives in the training loss of the task."""
        return cls(task.positive_weight)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch of logits ``(B, 1, H, W)``; maps of annotators in ``target`` are not used."""
        self.add(edge_sums(prediction, target[:, :1], valid))

    def compute(self) -> Tensor:
        """Scalar >= 0; NaN without a valid pixel."""
        sums = self.sums
        weight = self.positive_weight
        share = sums.negatives / sums.pixels if weight is None else weight
        return (share * sums.positive_loss + (1 - share) * sums.negative_loss) / sums.pixels


class _LogitBoundaryMetric(BoundaryMetric):
    """Boundary scores of logits, compared with the maps of annotators in the targets."""

    task_kinds: ClassVar[tuple[str, ...]] = ("edge",)

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Use the convention of an edge task."""
        return cls(task.boundary_convention)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of logits; the text of the module describes the channels of ``target``."""
        # NaN logits of a diverged network are not boundaries.
        probabilities = prediction.float().sigmoid().nan_to_num(0.0)
        annotations, scored = annotators(target)
        if valid is None:
            valid = torch.ones_like(target[:, :1], dtype=torch.bool)
        super().update(probabilities, annotations, valid & scored)


@register_metric
class LogitOdsF(_LogitBoundaryMetric, OdsF):
    """odsF of logits.

    Example:
        >>> metric, labels = LogitOdsF(), torch.zeros(1, 1, 20, 20)
        >>> labels[..., 10, :] = 1
        >>> metric.update(20 * labels - 10, labels, labels >= 0)
        >>> 0.9 < metric.compute().item() <= 1
        True
    """

    name: ClassVar[str] = "odsf"


@register_metric
class LogitOisF(_LogitBoundaryMetric, OisF):
    """oisF of logits.

    Example:
        >>> metric, labels = LogitOisF(), torch.zeros(1, 1, 20, 20)
        >>> labels[..., 10, :] = 1
        >>> metric.update(20 * labels - 10, labels, labels >= 0)
        >>> 0.9 < metric.compute().item() <= 1
        True
    """

    name: ClassVar[str] = "oisf"


@register_metric
class LogitAP(_LogitBoundaryMetric, BoundaryAP):
    """AP of logits.

    Example:
        >>> LogitAP().higher_is_better
        True
    """

    name: ClassVar[str] = "ap"


def annotators(target: Tensor) -> tuple[Tensor, Tensor]:
    """Boundary maps that predictions are compared with, from targets ``(B, 1 + A, H, W)``.

    Returns:
        Boundary maps ``(B, max(A, 1), H, W)``, and boolean ``(B, 1, 1, 1)``: which images are
        scored.

    Example:
        >>> maps, scored = annotators(torch.zeros(2, 4, 8, 8))
        >>> maps.shape, scored.flatten().tolist()
        (torch.Size([2, 3, 8, 8]), [True, True])
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
    """Lines one pixel wide; soft labels are thresholded at 0.5."""
    lines = [thin(one) for one in maps[:, 0].detach().cpu().numpy() >= 0.5]
    return torch.from_numpy(np.stack(lines)).to(maps)[:, None]


def edge_metrics(
    positive_weight: float | None = 0.95, convention: BoundaryConvention | None = None
) -> MetricCollection:
    """``loss``, and with a convention ``odsf``, ``oisf`` and ``ap``, which share their counts.

    Example:
        >>> sorted(edge_metrics(0.95, BoundaryConvention()))
        ['ap', 'loss', 'odsf', 'oisf']
    """
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
