r"""Segmentation scores from one confusion matrix over the whole data set.

With :math:`n_{ij}` the number of valid pixels of class i predicted as j,

.. math:: \mathrm{IoU}_i = \frac{n_{ii}}{\sum_j n_{ij} + \sum_j n_{ji} - n_{ii}}

Averaging per image or per batch instead gives other, usually higher numbers that no current
benchmark reports.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from taskprism.checks import check_choice, check_integer
from taskprism.errors import InputError
from taskprism.metrics.base import DenseMetric, register_metric

AbsentClasses = Literal["skip", "zero", "nan"]


def confusion_matrix(prediction: Tensor, target: Tensor, valid: Tensor, classes: int) -> Tensor:
    """Count pixels by label and prediction.

    Args:
        prediction: Class indices ``(B, 1, H, W)``; one outside ``0..classes-1`` is a miss.
        target: Class indices ``(B, 1, H, W)``.
        valid: Boolean ``(B, 1, H, W)``.
        classes: Number of classes.

    Returns:
        ``(classes, classes + 1)`` int64: a row per label, a column per prediction, and a last
        column for predictions that are not a class.

    Raises:
        InputError: A valid label is not a class.

    Example:
        >>> labels = torch.tensor([[[[0, 1, 1]]]])
        >>> confusion_matrix(labels.flip(-1), labels, labels >= 0, classes=2).tolist()
        [[0, 1, 0], [1, 1, 0]]
    """
    labels, guesses = target[valid].long(), prediction[valid].long()
    if labels.numel() and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)].unique()[:10].tolist()
        raise InputError(f"Labels {wrong} are outside 0..{classes - 1}; mask them as invalid.")
    guesses = torch.where((guesses >= 0) & (guesses < classes), guesses, classes)
    columns = classes + 1
    counts = torch.bincount(labels * columns + guesses, minlength=classes * columns)
    return counts.reshape(classes, columns)


def class_iou(confusion: Tensor) -> Tensor:
    """IoU per class ``(classes,)``; NaN for a class that is neither labeled nor predicted.

    Example:
        >>> class_iou(torch.tensor([[2, 0, 0], [1, 1, 0]])).tolist()
        [0.6666666666666666, 0.5]
    """
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(dim=1) + confusion[:, :-1].sum(dim=0) - hits)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Share of the pixels of each class that are predicted, ``(classes,)``; NaN without labels.

    Example:
        >>> class_accuracy(torch.tensor([[2, 0, 0], [1, 1, 0]])).tolist()
        [1.0, 0.5]
    """
    return confusion.diagonal().double() / confusion.sum(dim=1)


def mean_over_classes(scores: Tensor, absent_classes: AbsentClasses) -> Tensor:
    """Mean of scores per class, in which NaN means that a class is absent; NaN if all are.

    Example:
        >>> mean_over_classes(torch.tensor([0.5, torch.nan]), "zero").item()
        0.25
    """
    if absent_classes == "zero" and not scores.isnan().all():
        scores = scores.nan_to_num(nan=0.0)
    return scores.mean() if absent_classes == "nan" else scores.nanmean()


class SegmentationMetric(DenseMetric):
    """Base of metrics that read the confusion matrix.

    ``update`` takes class indices, see :func:`confusion_matrix`.

    Args:
        classes: Number of classes.
        absent_classes: ``"skip"`` leaves classes that do not occur out of a mean over classes,
            ``"zero"`` counts them as 0, ``"nan"`` makes the mean NaN (MTAN, LibMTL).
        kwargs: See :class:`torchmetrics.Metric`.

    Raises:
        InputError: ``classes`` is not an integer of at least 1.
        UnknownNameError: ``absent_classes`` is none of the three.

    Example:
        >>> MeanIoU(classes=5).confusion.shape
        torch.Size([5, 6])
    """

    task_kinds: ClassVar[tuple[str, ...]] = ("semseg",)
    higher_is_better = True
    confusion: Tensor

    def __init__(self, classes: int, absent_classes: AbsentClasses = "skip", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = check_integer("SegmentationMetric", "classes", classes, low=1)
        check_choice(
            "SegmentationMetric", "absent_classes", absent_classes, get_args(AbsentClasses)
        )
        self.absent_classes: AbsentClasses = absent_classes
        empty = torch.zeros(classes, classes + 1, dtype=torch.int64)
        self.add_state("confusion", default=empty, dist_reduce_fx="sum")

    @classmethod
    def for_task(cls, task: Any) -> Self:
        """Use the classes of a segmentation task, and its convention for absent classes."""
        return cls(task.channels, task.absent_classes)

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch, all ``(B, 1, H, W)``."""
        counts = confusion_matrix(prediction, target, valid, self.classes)
        self.confusion = self.confusion + counts.to(self.confusion.device)


@register_metric
class MeanIoU(SegmentationMetric):
    """Mean intersection over union.

    Example:
        >>> metric, labels = MeanIoU(2), torch.tensor([[[[0, 0, 1, 1]]]])
        >>> metric.update(torch.tensor([[[[0, 1, 0, 1]]]]), labels, labels >= 0)
        >>> round(metric.compute().item(), 3)
        0.333
    """

    name: ClassVar[str] = "miou"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]; NaN without a valid pixel."""
        return mean_over_classes(class_iou(self.confusion), self.absent_classes)


@register_metric
class PixelAccuracy(SegmentationMetric):
    """Share of valid pixels with the right class.

    Example:
        >>> metric, labels = PixelAccuracy(2), torch.tensor([[[[0, 0, 1, 1]]]])
        >>> metric.update(torch.tensor([[[[0, 1, 0, 1]]]]), labels, labels >= 0)
        >>> round(metric.compute().item(), 3)
        0.5
    """

    name: ClassVar[str] = "pixel_accuracy"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]; NaN without a valid pixel."""
        return self.confusion.diagonal().sum().double() / self.confusion.sum()


@register_metric
class MeanAccuracy(SegmentationMetric):
    """Mean over classes of the share of pixels that are predicted correctly.

    Example:
        >>> metric, labels = MeanAccuracy(2), torch.tensor([[[[0, 0, 1, 1]]]])
        >>> metric.update(torch.tensor([[[[0, 1, 0, 1]]]]), labels, labels >= 0)
        >>> round(metric.compute().item(), 3)
        0.5
    """

    name: ClassVar[str] = "mean_accuracy"

    def compute(self) -> Tensor:
        """Scalar in [0, 1]; NaN without a valid pixel."""
        return mean_over_classes(class_accuracy(self.confusion), self.absent_classes)


def segmentation_metrics(classes: int, absent_classes: AbsentClasses = "skip") -> MetricCollection:
    """``miou``, ``pixel_accuracy`` and ``mean_accuracy`` on one shared confusion matrix.

    Example:
        >>> sorted(segmentation_metrics(40))
        ['mean_accuracy', 'miou', 'pixel_accuracy']
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "miou": MeanIoU(classes, absent_classes),
        "pixel_accuracy": PixelAccuracy(classes, absent_classes),
        "mean_accuracy": MeanAccuracy(classes, absent_classes),
    }
    return MetricCollection(metrics, compute_groups=[list(metrics)])
