"""Precision, recall and the scores of their curve: odsF, oisF and AP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from taskprism.metrics.boundaries.conventions import BoundaryConvention
    from taskprism.metrics.boundaries.counts import BoundaryCounts

Curve = NDArray[np.float64]


def precision_recall(totals: NDArray[np.int64]) -> tuple[Curve, Curve]:
    """Precision and recall of counts ``(4, ...)``.

    Without true pixels precision is 0 and recall is 1. Otherwise, without predicted pixels,
    precision is 1 and recall is 0. F is 0 in both cases.

    Example:
        >>> precision, recall = precision_recall(np.array([[4], [8], [4], [5]]))
        >>> precision.tolist(), recall.tolist()
        ([0.8], [0.5])
    """
    matched_truth, truth, matched_predicted, predicted = totals
    recall = np.where(truth == 0, 1.0, matched_truth / np.maximum(truth, 1))
    precision = np.where(predicted == 0, 1.0, matched_predicted / np.maximum(predicted, 1))
    return np.where(truth == 0, 0.0, precision), recall


def f_measures(totals: NDArray[np.int64]) -> Curve:
    """Harmonic mean of precision and recall, 0 where both are 0.

    Example:
        >>> f_measures(np.array([[4], [8], [4], [8]])).tolist()
        [0.5]
    """
    precision, recall = precision_recall(totals)
    total = precision + recall
    return 2 * precision * recall / np.where(total == 0, 1, total)


def average_precision(precision: Curve, recall: Curve) -> float:
    """Mean precision at recalls 0, 0.01 .. 1, as in the Berkeley benchmark and SEISM.

    Precision is interpolated linearly between measured recalls and is 0 outside of them. Of points
    with the same recall the one with the lowest threshold is used. The sum over the 101 recalls is
    divided by 100. A detector that predicts only 0 and 1 has a single point and an AP near 0.

    Example:
        >>> average_precision(np.array([1.0, 1.0]), np.array([0.0, 0.99]))
        1.0
    """
    recalls, first = np.unique(recall, return_index=True)
    at = np.arange(101) / 100
    return float(np.interp(at, recalls, precision[first], left=0, right=0).sum() / 100)


@dataclass(frozen=True)
class BoundaryScores:
    """Scores of a data set: fractions in [0, 1], higher is better.

    Attributes:
        ods_f: Largest F over the thresholds, one threshold for all images ("optimal data-set
            scale"), not interpolated between thresholds.
        ois_f: F of the counts at the best threshold of each image ("optimal image scale").
        average_precision: See :func:`average_precision`.
        best_threshold: The first threshold with F = ``ods_f``.
        thresholds: ``(K,)``.
        precision: ``(K,)``.
        recall: ``(K,)``.
        f: ``(K,)``.
        images: Number of images.

    Example:
        >>> from taskprism.metrics.boundaries.conventions import convention
        >>> from taskprism.metrics.boundaries.counts import BoundaryCounts
        >>> from taskprism.metrics.boundaries.scores import BoundaryScores
        >>> BoundaryScores.of(BoundaryCounts.zero(99), convention("default")).images
        0
    """

    ods_f: float
    ois_f: float
    average_precision: float
    best_threshold: float
    thresholds: Curve
    precision: Curve
    recall: Curve
    f: Curve
    images: int

    @classmethod
    def of(cls, counts: BoundaryCounts, convention: BoundaryConvention) -> BoundaryScores:
        """Scores of summed counts; all NaN if there was no image."""
        precision, recall = precision_recall(counts.totals)
        f = f_measures(counts.totals)
        thresholds = np.array(convention.thresholds)
        if counts.images == 0:
            nan, curve = float("nan"), np.full(len(thresholds), np.nan)
            return cls(nan, nan, nan, nan, thresholds, curve, curve, curve, 0)
        best = int(f.argmax())
        return cls(
            ods_f=float(f[best]),
            ois_f=float(f_measures(counts.best)),
            average_precision=average_precision(precision, recall),
            best_threshold=float(thresholds[best]),
            thresholds=thresholds,
            precision=precision,
            recall=recall,
            f=f,
            images=counts.images,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values: ``odsF``, ``oisF``, ``AP``, ``best_threshold``, ``images``, ``curve``."""
        curve = zip(
            self.thresholds.tolist(),
            self.precision.tolist(),
            self.recall.tolist(),
            self.f.tolist(),
            strict=True,
        )
        return {
            "odsF": self.ods_f,
            "oisF": self.ois_f,
            "AP": self.average_precision,
            "best_threshold": self.best_threshold,
            "images": self.images,
            "curve": [
                {"threshold": t, "precision": p, "recall": r, "f": f} for t, p, r, f in curve
            ],
        }
