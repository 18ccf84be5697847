"""What has to be agreed on before two boundary scores may be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taskprism.errors import InputError, UnknownNameError

Comparison = Literal[">", ">="]
GroundTruthStyle = Literal["raw", "seism"]


def evenly_spaced(count: int) -> tuple[float, ...]:
    """``k / (count + 1)`` for k = 1 .. count, as the Berkeley benchmark takes them.

    Raises:
        InputError: If ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"at least one threshold is needed, got {count}.")
    return tuple(k / (count + 1) for k in range(1, count + 1))


HED_THRESHOLDS: tuple[float, ...] = (0.001, *(k / 100 for k in range(1, 100)), 0.999)
"""The 101 thresholds that HED and, after it, SEISM's list ``HED.txt`` use."""


@dataclass(frozen=True, kw_only=True)
class BoundaryConvention:
    """How boundary maps become counts.

    Attributes:
        max_distance: Tolerance as a fraction of the image diagonal.
        thresholds: Ascending, within [0, 1].
        nms: Suppress non-maxima before thresholding.
        thin: Thin every thresholded map.
        comparison: ``">"`` or ``">="`` between prediction and threshold. On 8-bit predictions it
            decides the ties at 0.2, 0.4, 0.6 and 0.8.
        ground_truth: ``"raw"``: the ground truth is boundary maps and taken as it is. ``"seism"``:
            it is label maps; a pixel is boundary if its right, lower or lower right neighbor has
            another label, and the result is thinned.
        eight_bit: Truncate predictions to multiples of 1/255, as maps that went through PNG files
            are.

    Raises:
        InputError: If a value is out of its range.

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
        if not 0 <= self.max_distance < 1:
            raise InputError(
                f"max_distance is a fraction of the image diagonal in [0, 1), got "
                f"{self.max_distance}."
            )
        thresholds = np.asarray(self.thresholds, dtype=np.float32)
        within = thresholds.size > 0 and thresholds.min() >= 0 and thresholds.max() <= 1
        if not within or (np.diff(thresholds) <= 0).any():
            raise InputError("thresholds must ascend within [0, 1] and differ in float32.")
        if self.comparison not in (">", ">="):
            raise InputError(f"comparison is '>' or '>=', got {self.comparison!r}.")
        if self.ground_truth not in ("raw", "seism"):
            raise InputError(f"ground_truth is 'raw' or 'seism', got {self.ground_truth!r}.")

    def radius(self, height: int, width: int) -> float:
        """Tolerance in pixels for an image of this size."""
        return self.max_distance * math.hypot(height, width)

    def threshold_array(self) -> NDArray[np.float32]:
        """Thresholds in the type of the predictions, so that ties are ties."""
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
* ``pascal``: ASTMT, ATRC and InvPT on PASCAL-Context through SEISM. Which images, 5,105 or 2,498
  of them, is another matter.
* ``pascal_survey``: the scripts of the MTI-Net and survey repository, without suppression.
* ``nyud``: the same authors on NYUD-v2. Its edge maps are treated as label maps, which moves the
  boundaries by half a pixel.

The last three cut predictions to 8 bits, as the papers' maps went through PNG files.
"""


def convention(name: str) -> BoundaryConvention:
    """One of :data:`CONVENTIONS`.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if name not in CONVENTIONS:
        raise UnknownNameError("boundary convention", name, CONVENTIONS)
    return CONVENTIONS[name]
