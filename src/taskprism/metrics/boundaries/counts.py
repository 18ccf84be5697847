"""Counts of boundary pixels of an image, and sums over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taskprism.errors import InputError
from taskprism.metrics.boundaries.bits import column_sums, planes_above
from taskprism.metrics.boundaries.conventions import BoundaryConvention, GroundTruthStyle
from taskprism.metrics.boundaries.matching import match
from taskprism.metrics.boundaries.scores import f_measures
from taskprism.metrics.boundaries.thinning import suppress_non_maxima, thin, thin_planes


@dataclass(frozen=True)
class BoundaryCounts:
    """Integer sums over images, which can be added in any order.

    The four rows are matched true pixels, true pixels, matched predicted pixels and predicted
    pixels. True pixels are summed over annotators.

    Attributes:
        totals: int64 ``(4, K)``, at every threshold.
        best: int64 ``(4,)``, each image at its own best threshold.
        images: Number of images.

    Example:
        >>> from taskprism.metrics.boundaries.counts import BoundaryCounts
        >>> BoundaryCounts.zero(99).totals.shape
        (4, 99)
    """

    totals: NDArray[np.int64]
    best: NDArray[np.int64]
    images: int

    @classmethod
    def zero(cls, thresholds: int) -> Self:
        """No image yet."""
        return cls(np.zeros((4, thresholds), np.int64), np.zeros(4, np.int64), 0)

    @classmethod
    def of_image(
        cls,
        probabilities: NDArray[Any],
        annotations: Sequence[NDArray[Any]],
        convention: BoundaryConvention,
        valid: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Count one image.

        Args:
            probabilities: Edge map ``(H, W)`` in [0, 1].
            annotations: Ground truth ``(H, W)`` of each annotator: boundary maps, or label maps
                with ``convention.ground_truth == "seism"``.
            convention: How to count.
            valid: Boolean ``(H, W)``. The image is cropped to the smallest rectangle with all valid
                pixels, which removes padding. Other invalid pixels count as no boundary, both in
                prediction and ground truth. None: all pixels are valid.

        Raises:
            InputError: Shapes differ, no annotation is given, or a value is outside [0, 1].
        """
        probabilities = _checked(probabilities, annotations)
        if valid is not None:
            if not valid.any():
                return cls.zero(len(convention.thresholds))
            window = _window(valid)
            valid, probabilities = valid[window], probabilities[window]
            annotations = [annotation[window] for annotation in annotations]
        if convention.eight_bit:
            # The small addition keeps values that already are multiples of 1/255.
            steps = np.floor(probabilities.astype(np.float64) * 255 + 1e-4)
            probabilities = (steps / 255).astype(np.float32)
        if convention.nms and min(probabilities.shape) > 1:
            probabilities = suppress_non_maxima(probabilities)
        elif convention.nms:
            # Suppression sets the border to 0, and all pixels of such a map are at the border.
            probabilities = np.zeros_like(probabilities)
        thresholds = convention.threshold_array()
        planes = planes_above(probabilities, thresholds, convention.comparison)
        if valid is not None:
            planes[:, ~valid] = 0
        if convention.thin:
            planes = thin_planes(planes)
        truths = [
            true_boundaries(annotation, convention.ground_truth) for annotation in annotations
        ]
        if valid is not None:
            truths = [truth & valid for truth in truths]
        matched = match(planes, truths, convention.radius(*probabilities.shape), len(thresholds))
        predicted = [column_sums(plane.ravel(), 64) for plane in planes]
        totals = np.stack(
            [
                matched.truth,
                np.full(len(thresholds), sum(int(truth.sum()) for truth in truths)),
                matched.predicted,
                np.concatenate(predicted)[: len(thresholds)],
            ]
        )
        return cls(totals, totals[:, f_measures(totals).argmax()], 1)

    def __add__(self, other: BoundaryCounts) -> BoundaryCounts:
        if self.totals.shape != other.totals.shape:
            raise InputError(
                f"Cannot add counts of {self.totals.shape[1]} and {other.totals.shape[1]} "
                "thresholds. Use one convention for all images."
            )
        return BoundaryCounts(
            self.totals + other.totals, self.best + other.best, self.images + other.images
        )


def _checked(
    probabilities: NDArray[Any], annotations: Sequence[NDArray[Any]]
) -> NDArray[np.float32]:
    if probabilities.ndim != 2:
        raise InputError(f"Expected an edge map (H, W), got shape {probabilities.shape}.")
    if not annotations:
        raise InputError("An image needs the annotation of at least one annotator, got none.")
    for annotation in annotations:
        if annotation.shape != probabilities.shape:
            raise InputError(
                f"The prediction has {_size(probabilities)} pixels, the ground truth "
                f"{_size(annotation)}. Resize the prediction to the ground truth."
            )
    probabilities = probabilities.astype(np.float32, copy=False)
    if not (probabilities.size and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise InputError("Expected probabilities in [0, 1]. Apply a sigmoid to logits.")
    return probabilities


def _size(image: NDArray[Any]) -> str:
    return " x ".join(str(side) for side in image.shape)


def _window(valid: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def label_boundaries(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose right, lower or lower right neighbor has another label.

    Boundaries are on the upper left side of a change and up to two pixels wide. SEISM first numbers
    the 4-connected parts of each label. That gives the same result: where two parts of one label
    touch at a corner, the two pixels next to the corner have other labels.

    Args:
        labels: Integers ``(H, W)``.

    Example:
        >>> label_boundaries(np.array([[1, 1, 2]])).tolist()
        [[False, True, False]]
    """
    found = np.zeros(labels.shape, dtype=bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    found[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return found


def true_boundaries(annotation: NDArray[Any], style: GroundTruthStyle) -> NDArray[np.bool_]:
    """Boundary map of an annotation ``(H, W)``.

    Args:
        annotation: For ``"raw"`` a boundary map (0: no boundary), for ``"seism"`` labels.
        style: See :class:`~taskprism.metrics.boundaries.BoundaryConvention`.

    Example:
        >>> true_boundaries(np.array([[0, 255]]), "raw").tolist()
        [[False, True]]
    """
    return annotation != 0 if style == "raw" else thin(label_boundaries(annotation))
