r"""Non-maximum suppression of edge maps: keep what is largest across the edge.

As in the structured edge detector of Dollár and Zitnick (2015), whose post-processing HED and SEISM
took over. The direction of the edge is estimated on the map E itself, smoothed by a triangle filter
of radius 4 to S:

.. math:: \theta = \arctan\frac{S_{yy}\,\mathrm{sign}(-S_{xy})}{S_{xx} + 10^{-5}} \bmod \pi

and a pixel is set to 0 if 1.01 times its value is below E one pixel further along
:math:`\pm(\cos\theta, \sin\theta)`, read by bilinear interpolation. Within 5 pixels of the
border, where the derivatives mean little, values fall linearly to 0.

The formula takes the direction to be horizontal where :math:`S_{xy}` is exactly 0, so a drawn,
perfectly horizontal bar stays as thick as it is. Maps of real detectors hold no such place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from taskprism.errors import InputError

_SMOOTHING = 4
_RAMP = 5
_FACTOR = np.float32(1.01)
_TRIANGLE = np.convolve(np.ones(_SMOOTHING + 1), np.ones(_SMOOTHING + 1)) / (_SMOOTHING + 1) ** 2

Map = NDArray[np.float32]


def suppress_non_maxima(probabilities: NDArray[Any]) -> Map:
    """Thin an edge map without binarizing it.

    Args:
        probabilities: ``(H, W)`` in [0, 1], H and W at least 2.

    Returns:
        float32 ``(H, W)``: the same values on ridges, 0 elsewhere, fading towards the border.

    Raises:
        InputError: If the map is not two-dimensional or a side is shorter than 2 pixels.
    """
    edges = np.ascontiguousarray(probabilities, dtype=np.float32)
    if edges.ndim != 2 or min(edges.shape) < 2:
        raise InputError(
            f"non-maximum suppression needs a map (H, W) of at least 2 x 2, got {edges.shape}."
        )
    pixels = edges.ravel().nonzero()[0]
    along_x, along_y = _direction(edges, pixels)
    row, column = np.divmod(pixels, edges.shape[1])
    values = edges.ravel()[pixels]
    raised = values * _FACTOR
    largest = np.ones(len(pixels), dtype=bool)
    for sign in (-1, 1):
        largest &= raised >= _read(edges, row + sign * along_y, column + sign * along_x)
    kept = np.zeros_like(edges)
    kept.ravel()[pixels] = np.where(largest, values, 0)
    height, width = edges.shape
    return kept * _ramp(height)[:, None] * _ramp(width)


def _direction(edges: Map, pixels: NDArray[np.intp]) -> tuple[Map, Map]:
    """Unit vectors ``(x, y)`` across the edge at some pixels, up to their sign."""
    smooth = ndimage.correlate1d(edges, _TRIANGLE, axis=0, mode="reflect")
    smooth = ndimage.correlate1d(smooth, _TRIANGLE, axis=1, mode="reflect")
    by_y, by_x = np.gradient(smooth)
    by_yy = np.gradient(by_y, axis=0).ravel()[pixels]
    by_xy = np.gradient(by_y, axis=1).ravel()[pixels]
    by_xx = np.gradient(by_x, axis=1).ravel()[pixels]
    x, y = by_xx + np.float32(1e-5), by_yy * np.sign(-by_xy)
    length = np.hypot(x, y)
    flat = length == 0
    length[flat] = 1
    x[flat] = 1
    return x / length, y / length


def _read(edges: Map, row: NDArray[Any], column: NDArray[Any]) -> Map:
    """Bilinear interpolation; positions outside count as on the border."""
    height, width = edges.shape
    row = np.clip(row, 0, height - 1.001).astype(np.float32)
    column = np.clip(column, 0, width - 1.001).astype(np.float32)
    # float32 cannot tell n - 1.001 from n - 1 in images wider than 8192 pixels, hence the minimum.
    top = np.minimum(row.astype(np.intp), height - 2)
    left = np.minimum(column.astype(np.intp), width - 2)
    down, right = row - top.astype(np.float32), column - left.astype(np.float32)
    flat, at = edges.ravel(), top * width + left
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + width] * (1 - right) + flat[at + width + 1] * right
    return upper * (1 - down) + lower * down


def _ramp(size: int) -> Map:
    """0 at the border, 1 from the sixth pixel on."""
    index = np.arange(size, dtype=np.float32)
    return np.minimum(1, np.minimum(index, index[::-1]) / _RAMP)
