"""Conventions of boundary scores; only scores of one convention can be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taskprism.checks import check_choice, check_flag, check_integer, check_number
from taskprism.errors import InputError, UnknownNameError

Comparison = Literal[">", ">="]
GroundTruthStyle = Literal["raw", "seism"]


def evenly_spaced(count: int) -> tuple[float, ...]:
    """``k / (count + 1)`` for k = 1 .. count, the thresholds of the Berkeley benchmark.

    Raises:
        InputError: ``count`` is not an integer of at least 1.

    Example:
        >>> evenly_spaced(3)
        (0.25, 0.5, 0.75)
    """
    check_integer("Boundary scores", "the number of thresholds", count, low=1)
    return tuple(k / (count + 1) for k in range(1, count + 1))


HED_THRESHOLDS: tuple[float, ...] = (0.001, *(k / 100 for k in range(1, 100)), 0.999)
"""The 101 thresholds of HED, also in the list ``HED.txt`` of SEISM."""


@dataclass(frozen=True, kw_only=True)
class BoundaryConvention:
    """How boundary maps become counts.

    Attributes:
        max_distance: Tolerance as a fraction of the image diagonal.
        thresholds: Ascending, within [0, 1].
        nms: Suppress non-maxima before thresholding.
        thin: Thin every thresholded map.
        comparison: ``">"`` or ``">="`` between prediction and threshold. It matters for 8-bit
            predictions that equal the thresholds 0.2, 0.4, 0.6 and 0.8.
        ground_truth: ``"raw"``: the ground truth is boundary maps. ``"seism"``: it is label maps; a
            pixel is boundary if its right, lower or lower right neighbor has another label, and the
            result is thinned.
        eight_bit: Truncate predictions to multiples of 1/255, as if they had been saved to PNG.

    Raises:
        InputError: A value is out of range.
        UnknownNameError: ``comparison`` or ``ground_truth`` is none of the two.

    Example:
        >>> from taskprism.metrics.boundaries.conventions import BoundaryConvention
        >>> BoundaryConvention(max_distance=0.01).nms
        True
    """

    max_distance: float = 0.0075
    thresholds: tuple[float, ...] = evenly_spaced(99)
    nms: bool = True
    thin: bool = True
    comparison: Comparison = ">"
    ground_truth: GroundTruthStyle = "raw"
    eight_bit: bool = False

    def __post_init__(self) -> None:
        distance = "max_distance (a fraction of the image diagonal)"
        check_number("BoundaryConvention", distance, self.max_distance, 0, 1)
        try:
            thresholds = np.asarray(self.thresholds, dtype=np.float32)
        except (TypeError, ValueError):
            thresholds = np.empty(0, dtype=np.float32)
        within = thresholds.ndim == 1 and ((thresholds >= 0) & (thresholds <= 1)).all()
        if not within or thresholds.size == 0 or (np.diff(thresholds) <= 0).any():
            raise InputError(
                "BoundaryConvention: thresholds must be numbers in [0, 1] in ascending order that "
                f"differ in float32, got {str(self.thresholds)[:80]}."
            )
        for flag in ("nms", "thin", "eight_bit"):
            check_flag("BoundaryConvention", flag, getattr(self, flag))
        check_choice("BoundaryConvention", "comparison", self.comparison, (">", ">="))
        check_choice("BoundaryConvention", "ground_truth", self.ground_truth, ("raw", "seism"))

    def radius(self, height: int, width: int) -> float:
        """Tolerance in pixels for an image of this size."""
        return self.max_distance * math.hypot(height, width)

    def threshold_array(self) -> NDArray[np.float32]:
        """Thresholds in the type of the predictions, so that equal values compare as equal."""
        return np.array(self.thresholds, dtype=np.float32)


CONVENTIONS: dict[str, BoundaryConvention] = {
    "default": BoundaryConvention(),
    "bsds": BoundaryConvention(nms=False, comparison=">="),
    "pascal": BoundaryConvention(thresholds=HED_THRESHOLDS, ground_truth="seism", eight_bit=True),
    "pascal_survey": BoundaryConvention(
        nms=False, comparison=">=", ground_truth="seism", eight_bit=True
    ),
    "nyud": BoundaryConvention(
        thresholds=HED_THRESHOLDS, ground_truth="seism", max_distance=0.011, eight_bit=True
    ),
}
"""Named conventions.

* ``default``: non-maximum suppression, 99 thresholds, boundary maps, 0.0075.
* ``bsds``: the Berkeley benchmark, which expects suppressed predictions and compares with >=.
* ``pascal``: ASTMT, ATRC and InvPT on PASCAL-Context with SEISM. Papers use 5,105 or 2,498 images,
  which this convention does not determine.
* ``pascal_survey``: the scripts of the MTI-Net and survey repository, without suppression.
* ``nyud``: the same authors on NYUD-v2. Its edge maps are read as label maps, which moves the
  boundaries by half a pixel.

The last three truncate predictions to 8 bits, as the papers save them to PNG files.
"""


def convention(name: str) -> BoundaryConvention:
    """One of :data:`CONVENTIONS`.

    Raises:
        UnknownNameError: There is no convention of this name.

    Example:
        >>> convention("bsds").comparison
        '>='
    """
    if name not in CONVENTIONS:
        raise UnknownNameError("boundary convention", name, CONVENTIONS)
    return CONVENTIONS[name]
