r"""Saliency scores over thresholds of a probability.

``max_miou`` (ASTMT, MTI-Net): IoU of the *foreground* of each image (1 if prediction and label are
both empty), averaged over images for each of 15 thresholds 0.2, 0.25, ..., 0.9, then the maximum.

``max_f``: :math:`F = (1 + \beta^2) P R / (\beta^2 P + R)`, maximum over thresholds. Three
conventions are published. The differences between them are larger than those between methods:

========= ====================== ============= ===================================== =============
variant   precision and recall   :math:`β^2`   positive if                           thresholds
========= ====================== ============= ===================================== =============
``atrc``  over the data set      0.3           probability >= t                      .05, ..., .95
``invpt`` over the data set      0.3           sigmoid(probability) >= t             .05, ..., .95
``astmt`` mean over images       1             probability > t                       .2, ..., .9
========= ====================== ============= ===================================== =============

``invpt`` reproduces the released code of InvPT, TaskPrompter, MLoRE and MTMamba. It applies a
second sigmoid to the probability, so that only four of the thresholds give different results. Use
it to compare with their tables.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.errors import UnknownNameError
from taskprism.metrics.base import DenseMetric, register_metric

MaxFVariant = Literal["atrc", "invpt", "astmt"]
ASTMT_THRESHOLDS = tuple(k / 20 for k in range(4, 19))
ATRC_THRESHOLDS = tuple(k / 20 for k in range(1, 20))
BETA_SQUARED = 0.3


class ThresholdCounts(NamedTuple):
    """Pixels of each image at each threshold, all float64.

    Attributes:
        hits: ``(B, T)`` salient pixels that are predicted as salient.
        positives: ``(B, T)`` pixels that are predicted as salient.
        salient: ``(B, 1)`` salient pixels.
        pixels: ``(B, 1)`` valid pixels.

    Example:
        >>> ThresholdCounts._fields
        ('hits', 'positives', 'salient', 'pixels')
    """

    hits: Tensor
    positives: Tensor
    salient: Tensor
    pixels: Tensor


def threshold_counts(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    thresholds: tuple[float, ...],
    *,
    inclusive: bool,
) -> ThresholdCounts:
    """Count hits at all thresholds in one pass.

    Args:
        prediction: Probabilities ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``; salient above 0.5.
        valid: Boolean ``(B, 1, H, W)``.
        thresholds: T ascending numbers.
        inclusive: Whether a probability equal to a threshold counts as salient.

    Example:
        >>> labels = torch.ones(1, 1, 2, 2)
        >>> counts = threshold_counts(0.5 * labels, labels, labels > 0, (0.4, 0.6), inclusive=True)
        >>> counts.hits.tolist()
        [[4.0, 0.0]]
    """
    images, steps = len(prediction), len(thresholds) + 1
    scores = prediction.flatten(1)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    limits = torch.tensor(thresholds, dtype=scores.dtype, device=scores.device)
    passed = torch.bucketize(scores, limits, right=inclusive)
    salient = (target > 0.5).flatten(1)
    row = 2 * torch.arange(images, device=prediction.device)[:, None] + salient
    cells = (row * steps + passed)[valid.flatten(1)]
    counts = torch.bincount(cells, minlength=images * 2 * steps).reshape(images, 2, steps)
    # Number of pixels that pass at least k thresholds. Sums of integers are deterministic.
    reaching = counts.flip(-1).cumsum(-1).flip(-1).double()
    return ThresholdCounts(
        hits=reaching[:, 1, 1:],
        positives=reaching[:, :, 1:].sum(dim=1),
        salient=reaching[:, 1, :1],
        pixels=reaching[:, :, :1].sum(dim=1),
    )


def f_measure(precision: Tensor, recall: Tensor, beta_squared: float) -> Tensor:
    """Weighted harmonic mean of precision and recall; 0 where both are 0.

    Example:
        >>> f_measure(torch.tensor(0.5), torch.tensor(0.5), beta_squared=1.0).item()
        0.5
    """
    denominator = beta_squared * precision + recall
    score = (1 + beta_squared) * precision * recall / denominator
    return torch.where(denominator > 0, score, torch.zeros_like(score))


class SaliencyMetric(DenseMetric):
    """Base of metrics that compare probabilities with labels; NaN without a valid pixel.

    Example:
        >>> SaliencyMetric.task_kinds
        ('saliency',)
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("saliency",)
    higher_is_better = True


@register_metric
class MaxIoU(SaliencyMetric):
    """Maximum over thresholds of the mean over images of the foreground's IoU.

    Example:
        >>> metric, labels = MaxIoU(), torch.ones(1, 1, 2, 2)
        >>> metric.update(0.8 * labels, labels, labels > 0)
        >>> round(metric.compute().item(), 3)
        1.0
    """

    name: ClassVar[str] = "max_miou"

    foreground_iou: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(len(ASTMT_THRESHOLDS) + 1, dtype=torch.float64)
        self.add_state("foreground_iou", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        counts = threshold_counts(prediction, target, valid, ASTMT_THRESHOLDS, inclusive=False)
        union = counts.positives + counts.salient - counts.hits
        iou = torch.where(union > 0, counts.hits / union.clamp(min=1), 1.0)
        labeled = (counts.pixels > 0).double()
        sums = torch.cat([(iou * labeled).sum(dim=0), labeled.sum(dim=0)])
        self.foreground_iou = self.foreground_iou + sums.to(self.foreground_iou.device)

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        return (self.foreground_iou[:-1] / self.foreground_iou[-1]).max()


@register_metric
class MaxF(SaliencyMetric):
    """Maximal F measure with precision and recall over the data set (ATRC).

    Args:
        second_sigmoid: Apply a sigmoid to the probabilities, as the code of InvPT does.
        kwargs: See :class:`torchmetrics.Metric`.

    Example:
        >>> metric, labels = MaxF(), torch.ones(1, 1, 2, 2)
        >>> metric.update(0.8 * labels, labels, labels > 0)
        >>> round(metric.compute().item(), 3)
        1.0
    """

    name: ClassVar[str] = "max_f"

    f_counts: Tensor

    def __init__(self, second_sigmoid: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.second_sigmoid = second_sigmoid
        empty = torch.zeros(4, len(ATRC_THRESHOLDS), dtype=torch.float64)
        self.add_state("f_counts", default=empty, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        scores = prediction.double().sigmoid() if self.second_sigmoid else prediction
        counts = threshold_counts(scores, target, valid, ATRC_THRESHOLDS, inclusive=True)
        per_image = torch.broadcast_tensors(*counts)
        sums = torch.stack(per_image).sum(dim=1)
        self.f_counts = self.f_counts + sums.to(self.f_counts.device)

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        hits, positives, salient, pixels = self.f_counts
        best = f_measure((hits / positives).nan_to_num(0), hits / salient, BETA_SQUARED).max()
        return torch.where(pixels[0] > 0, best, torch.nan)


@register_metric
class ImageMaxF(SaliencyMetric):
    """Maximal F measure with precision and recall averaged over images (ASTMT).

    Example:
        >>> metric, labels = ImageMaxF(), torch.ones(1, 1, 2, 2)
        >>> metric.update(0.8 * labels, labels, labels > 0)
        >>> round(metric.compute().item(), 3)
        1.0
    """

    name: ClassVar[str] = "max_f_image_mean"

    precision_recall: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(2, len(ASTMT_THRESHOLDS), dtype=torch.float64)
        self.add_state("precision_recall", default=empty, dist_reduce_fx="sum")
        self.add_state("images", default=empty.new_zeros(()), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        counts = threshold_counts(prediction, target, valid, ASTMT_THRESHOLDS, inclusive=False)
        precision = counts.hits / (counts.positives + 1e-12)
        recall = counts.hits / (counts.salient + 1e-12)
        sums = torch.stack([precision.sum(0), recall.sum(0)])
        self.precision_recall = self.precision_recall + sums.to(self.precision_recall.device)
        self.images = self.images + (counts.pixels > 0).sum().to(self.images.device)

    def compute(self) -> Tensor:
        """Scalar in [0, 1]."""
        precision, recall = self.precision_recall / self.images
        scores = f_measure(precision, recall, beta_squared=1.0)
        return torch.where(self.images > 0, scores.max(), torch.nan)


def max_f(variant: MaxFVariant) -> SaliencyMetric:
    """The F measure of a published convention.

    Raises:
        UnknownNameError: There is no such convention.

    Example:
        >>> max_f("invpt").second_sigmoid
        True
    """
    if variant == "astmt":
        return ImageMaxF()
    if variant not in ("atrc", "invpt"):
        raise UnknownNameError("variant of max_f", variant, ("atrc", "invpt", "astmt"))
    return MaxF(second_sigmoid=variant == "invpt")


def saliency_metrics(variant: MaxFVariant = "atrc") -> MetricCollection:
    """``max_f`` in the given convention, and ``max_miou``.

    Example:
        >>> sorted(saliency_metrics())
        ['max_f', 'max_miou']
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "max_f": max_f(variant),
        "max_miou": MaxIoU(),
    }
    return MetricCollection(metrics, compute_groups=[[key] for key in metrics])
