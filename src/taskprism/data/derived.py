"""Labels computed from other labels: normals from depth, boundaries from segments or depth.

They are not published by a data set's authors; they follow from its other labels. State this where
you report scores on them.

Example:
    >>> import numpy as np
    >>> from taskprism.data.derived import normals_from_depth
    >>> wall = np.full((20, 30), 2.0)  # meters
    >>> normals, valid = normals_from_depth(wall, focal=(25.0, 25.0), center=(15.0, 10.0))
    >>> (normals[10, 15] + 0.0).round(3).tolist()
    [0.0, 0.0, 1.0]
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.morphology import thin

Pair = tuple[float, float]


def normals_from_depth(
    depth: np.ndarray,
    focal: Pair,
    center: Pair,
    valid: np.ndarray | None = None,
    radius: int = 5,
    tolerance: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Normals of the planes that fit best around each pixel.

    A plane's inverse depth is linear in pixel coordinates, and stereo and structured light measure
    inverse depth with equal noise everywhere. So in each window ``1 / depth`` is fitted linearly by
    least squares, over the pixels whose inverse depth is near that of the middle, which keeps
    other surfaces out.

    Args:
        depth: ``(H, W)`` meters along the optical axis.
        focal: Focal length in pixels, along x and y.
        center: Principal point ``(x, y)``; the center of the first pixel is (0, 0).
        valid: Boolean ``(H, W)``; by default where depth is finite and positive.
        radius: The window has ``2 radius + 1`` pixels on a side.
        tolerance: Largest relative difference of inverse depth within a fit.

    Returns:
        ``(H, W, 3)`` float32 unit vectors, x right, y up, z toward the camera, and boolean
        ``(H, W)`` where there were enough pixels; 0 elsewhere.
    """
    height, width = depth.shape
    known = np.isfinite(depth) & (depth > 0)
    if valid is not None:
        known &= valid
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    padded = np.pad(inverse, radius)
    limit = tolerance * inverse
    # Sums over the window of 1, x, y, xx, xy, yy, and of w, xw, yw; w is relative to the middle,
    # which keeps the sums small.
    sums = np.zeros((9, height, width), dtype=np.float32)
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            neighbor = padded[radius + y : radius + y + height, radius + x : radius + x + width]
            difference = neighbor - inverse
            near = ((np.abs(difference) < limit) & (neighbor > 0)).astype(np.float32)
            difference *= near
            sums[0] += near
            for row, factor in ((1, x), (2, y), (3, x * x), (4, x * y), (5, y * y)):
                if factor:
                    sums[row] += factor * near
            sums[6] += difference
            sums[7] += x * difference
            sums[8] += y * difference
    count = np.maximum(sums[0], 1)
    mean_x, mean_y, mean_w = sums[1] / count, sums[2] / count, sums[6] / count
    xx = sums[3] - count * mean_x * mean_x
    xy = sums[4] - count * mean_x * mean_y
    yy = sums[5] - count * mean_y * mean_y
    xw = sums[7] - count * mean_x * mean_w
    yw = sums[8] - count * mean_y * mean_w
    determinant = xx * yy - xy * xy
    fitted = known & (sums[0] >= 2 * radius + 1) & (determinant > 1e-3 * np.maximum(xx * yy, 1))
    determinant = np.where(fitted, determinant, 1)
    slope_x = (yy * xw - xy * yw) / determinant
    slope_y = (xx * yw - xy * xw) / determinant
    middle = inverse + mean_w - slope_x * mean_x - slope_y * mean_y
    columns, rows = np.arange(width) - center[0], np.arange(height)[:, None] - center[1]
    # 1 / z = A (u - cx) / fx + B (v - cy) / fy + C for the plane (A, B, C) . X = 1, which (with y
    # down and z forward) points away from the camera.
    vectors = np.stack(
        [-slope_x * focal[0], slope_y * focal[1], middle - slope_x * columns - slope_y * rows],
        axis=2,
    )
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    fitted &= length[..., 0] > 0
    normals = np.where(fitted[..., None], vectors / np.maximum(length, 1e-12), 0)
    return normals.astype(np.float32), fitted


def edges_from_segments(segments: np.ndarray, gap: int = 10) -> np.ndarray:
    """Boundaries between segments, one pixel wide.

    Args:
        segments: ``(H, W)`` integers, one per segment, 0 where nothing was labeled. Hand-drawn
            labels leave gaps between objects; the nearest segment fills them, so that two objects
            share one boundary.
        gap: Largest distance in pixels that is filled. Larger gaps have no boundary.

    Returns:
        Boolean ``(H, W)``.
    """
    empty = segments == 0
    filled = segments
    if empty.any() and not empty.all():
        nearest = np.asarray(
            ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
        )
        far = np.square(nearest - np.indices(segments.shape)).sum(axis=0) > gap**2
        filled = np.where(far, 0, segments[nearest[0], nearest[1]])
    boundary = np.zeros(segments.shape, dtype=bool)
    below = _differ(filled[:-1], filled[1:])
    right = _differ(filled[:, :-1], filled[:, 1:])
    boundary[:-1] |= below
    boundary[1:] |= below
    boundary[:, :-1] |= right
    boundary[:, 1:] |= right
    return thin(boundary)


def edges_from_depth(
    depth: np.ndarray, valid: np.ndarray | None = None, jump: float = 0.04, gap: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Boundaries where depth jumps, one pixel wide.

    Next to most jumps, one camera of a stereo pair sees a strip that the other does not. It has no
    depth and is filled from the nearest pixel, so that the boundary runs through its middle.

    Args:
        depth: ``(H, W)`` meters.
        valid: Boolean ``(H, W)``; by default where depth is finite and positive.
        jump: Least difference of neighbors, relative to the farther one's depth. Surfaces that
            are seen from the side change less from pixel to pixel.
        gap: Largest distance in pixels that is filled.

    Returns:
        Boolean ``(H, W)``: boundaries, and where depth is known or was filled; no boundary
        elsewhere.
    """
    known = np.isfinite(depth) & (depth > 0)
    if valid is not None:
        known &= valid
    if not known.any():
        return np.zeros_like(known), known
    nearest = np.asarray(
        ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    )
    filled = depth[nearest[0], nearest[1]]
    reached = np.square(nearest - np.indices(depth.shape)).sum(axis=0) <= gap**2
    boundary = np.zeros(depth.shape, dtype=bool)
    boundary[:-1] |= _jumps(filled[:-1], filled[1:], jump)
    boundary[:, :-1] |= _jumps(filled[:, :-1], filled[:, 1:], jump)
    return thin(boundary & reached), reached


def _jumps(first: np.ndarray, second: np.ndarray, jump: float) -> np.ndarray:
    return np.abs(first - second) > jump * np.maximum(first, second)


def _differ(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first != second) & (first != 0) & (second != 0)
