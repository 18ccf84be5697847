"""Boundary scores odsF, oisF and AP, without MATLAB and without a compiler.

A detector gives every pixel a probability of lying on an object boundary. Its map is thinned to
ridges (non-maximum suppression), cut at many thresholds, thinned again, and each binary map is
matched one to one with the boundaries that people have drawn, within a tolerance of 0.0075 of the
image diagonal. Matched shares are precision and recall; F is their harmonic mean. odsF is the best
F with one threshold for the whole data set, oisF with one for each image, AP the area under the
curve (Martin, Fowlkes and Malik, 2004; Arbeláez et al., 2011).

The matching is a maximum one, found exactly. The Berkeley benchmark's own solver misses up to 0.2 %
of the pairs, so its scores are lower by some 0.0003.

>>> import numpy as np
>>> from taskprism.metrics.boundaries import BoundaryConvention, BoundaryCounts, BoundaryScores
>>> truth = np.zeros((40, 60), dtype=bool)
>>> truth[20, 10:50] = True
>>> prediction = np.zeros((40, 60), dtype=np.float32)
>>> prediction[20, 10:30] = 0.8  # half of the line,
>>> prediction[5, 10:15] = 0.4  # and five pixels that no one has drawn
>>> convention = BoundaryConvention(nms=False)
>>> counts = BoundaryCounts.of_image(prediction, [truth], convention)
>>> scores = BoundaryScores.of(counts, convention)
>>> round(scores.ods_f, 3), scores.best_threshold
(0.667, 0.4)

Counts of images are added with ``+``. :func:`score_folders` does it for files, in several
processes; :class:`BoundaryMetric` and :class:`OdsF` for batches, as torchmetrics. What authors do
differently is a field of :class:`BoundaryConvention`; :data:`CONVENTIONS` names the usual choices.

What needs PyTorch or matplotlib is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from taskprism.metrics.boundaries.conventions import (
    CONVENTIONS,
    HED_THRESHOLDS,
    BoundaryConvention,
    convention,
    evenly_spaced,
)
from taskprism.metrics.boundaries.counts import BoundaryCounts
from taskprism.metrics.boundaries.files import count_pairs, find_pairs, read_names, score_folders
from taskprism.metrics.boundaries.ground_truth import label_boundaries, true_boundaries
from taskprism.metrics.boundaries.matching import Matched, match
from taskprism.metrics.boundaries.scores import (
    BoundaryScores,
    average_precision,
    f_measures,
    precision_recall,
)
from taskprism.metrics.boundaries.thinning import suppress_non_maxima, thin, thin_planes

if TYPE_CHECKING:
    from taskprism.metrics.boundaries.metric import BoundaryAP, BoundaryMetric, OdsF, OisF
    from taskprism.metrics.boundaries.plot import plot_curves

__all__ = [
    "CONVENTIONS",
    "HED_THRESHOLDS",
    "BoundaryAP",
    "BoundaryConvention",
    "BoundaryCounts",
    "BoundaryMetric",
    "BoundaryScores",
    "Matched",
    "OdsF",
    "OisF",
    "average_precision",
    "convention",
    "count_pairs",
    "evenly_spaced",
    "f_measures",
    "find_pairs",
    "label_boundaries",
    "match",
    "plot_curves",
    "precision_recall",
    "read_names",
    "score_folders",
    "suppress_non_maxima",
    "thin",
    "thin_planes",
    "true_boundaries",
]

_HOMES = {
    "BoundaryAP": "metric",
    "BoundaryMetric": "metric",
    "OdsF": "metric",
    "OisF": "metric",
    "plot_curves": "plot",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
