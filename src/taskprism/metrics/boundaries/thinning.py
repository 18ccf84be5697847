"""Edge maps one pixel wide: morphological thinning and non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from taskprism.errors import InputError
from taskprism.metrics.boundaries.bits import Indices, Words, nonzero


def thin(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Thin one mask ``(H, W)``; equal to :func:`skimage.morphology.thin`.

    Example:
        >>> thin(np.ones((3, 5))).sum()
        np.int64(3)
    """
    return _thin(np.asarray(mask) != 0)


def thin_planes(planes: Words) -> Words:
    """Thin every bit of ``(planes, H, W)`` as a separate mask.

    Example:
        >>> thin_planes(np.full((1, 3, 5), 3, dtype=np.uint64)).max()
        np.uint64(3)
    """
    return np.stack([_thin(plane) for plane in planes])


def _thin(image: NDArray[Any]) -> NDArray[Any]:
    """Thin every bit of ``(H, W)``, boolean or unsigned."""
    padded = np.pad(image, 1)
    pixels = padded.ravel()
    width = padded.shape[1]
    steps = (1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1)
    candidates = nonzero(pixels)
    touched = np.zeros(pixels.size, dtype=bool)
    # Both halves of an iteration must visit every pixel once. After that, a half must visit a pixel
    # only if one of its neighbors was deleted in the two halves before.
    before: Indices | None = None
    first_half = True
    while True:
        here = pixels[candidates]
        around = [pixels[candidates + step] for step in steps]
        deletable = here & _deletable(around, first_half)
        some = nonzero(deletable)
        deleted = candidates[some]
        pixels[deleted] = here[some] & ~deletable[some]
        first_half = not first_half
        if before is None:
            before = deleted
            continue
        changed = np.concatenate([before, deleted])
        if len(changed) == 0:
            return padded[1:-1, 1:-1]
        before = deleted
        touched[:] = False
        for step in steps:
            touched[changed + step] = True
        candidates = touched.nonzero()[0]
        candidates = candidates[pixels[candidates] != 0]


def _deletable(around: list[NDArray[Any]], first_half: bool) -> NDArray[Any]:
    """Conditions G1, G2 and G3 of Guo and Hall (1989) for every bit."""
    x1, x2, x3, x4, x5, x6, x7, x8 = around
    p12, p34, p56, p78 = x1 | x2, x3 | x4, x5 | x6, x7 | x8
    p23, p45, p67, p81 = x2 | x3, x4 | x5, x6 | x7, x8 | x1

    # G1: exactly one term is set if their number is odd and no pair is complete.
    t1, t2, t3, t4 = ~x1 & p23, ~x3 & p45, ~x5 & p67, ~x7 & p81
    odd = t1 ^ t2 ^ t3 ^ t4
    one = odd & ~((t1 & t2) | (t3 & t4))

    low, high = (p12 | p34) & (p56 | p78), (p12 & p34) | (p56 & p78)
    first_two_or_more = low | high
    low, high = (p23 | p45) & (p67 | p81), (p23 & p45) | (p67 & p81)
    second_two_or_more = low | high
    all_eight = (p12 & p34 & p56 & p78) & (p23 & p45 & p67 & p81)

    keep = (x2 | x3 | ~x8) & x1 if first_half else (x6 | x7 | ~x4) & x5
    return one & first_two_or_more & second_two_or_more & ~all_eight & ~keep


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
        float32 ``(H, W)``: the values on ridges, 0 elsewhere; they decrease to 0 at the border.

    Raises:
        InputError: The map is not two-dimensional, or a side is shorter than 2 pixels.

    Example:
        >>> suppress_non_maxima(np.ones((20, 30))).shape
        (20, 30)
    """
    edges = np.ascontiguousarray(probabilities, dtype=np.float32)
    if edges.ndim != 2 or min(edges.shape) < 2:
        raise InputError(
            f"Expected an edge map (H, W) of at least 2 x 2 pixels, got shape {edges.shape}."
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
    """Unit vectors ``(x, y)`` across the edge at the given pixels, up to their sign."""
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
    """Bilinear interpolation; positions outside are moved to the border."""
    height, width = edges.shape
    row = np.clip(row, 0, height - 1.001).astype(np.float32)
    column = np.clip(column, 0, width - 1.001).astype(np.float32)
    # In images wider than 8192 pixels n - 1.001 equals n - 1 in float32, hence the minimum.
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
