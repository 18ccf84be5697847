"""Boundary maps from label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskprism.metrics.boundaries.conventions import GroundTruthStyle
from taskprism.metrics.boundaries.thinning import thin


def label_boundaries(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose right, lower or lower right neighbor has another label.

    Boundaries lie on the upper left side of a change and are up to two pixels wide. Numbering the
    4-connected parts of each label first, as SEISM does, changes nothing: where two parts of one
    label touch at a corner, the two pixels next to the corner have other labels.

    Args:
        labels: Integers ``(H, W)``.
    """
    found = np.zeros(labels.shape, dtype=bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    found[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return found


def true_boundaries(annotation: NDArray[Any], style: GroundTruthStyle) -> NDArray[np.bool_]:
    """An annotation ``(H, W)`` as boundary map.

    Args:
        annotation: For ``"raw"`` a boundary map (anything but 0), for ``"seism"`` labels.
        style: See :class:`~taskprism.metrics.boundaries.BoundaryConvention`.
    """
    return annotation != 0 if style == "raw" else thin(label_boundaries(annotation))
