"""Where rays meet the unit shapes.

A ray ``o + t d`` of the world becomes a ray of the unit shape's own coordinates by one affine map
that leaves ``t`` as it is, so three intersections serve every box, ellipsoid and cut cone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskprism.rooms.solids import Shape

Triple = Sequence[np.ndarray]
"""Three coordinates, each an array."""

_TINY = np.float32(1e-20)


def transform(matrix: Triple | np.ndarray, vector: Triple | np.ndarray) -> list[np.ndarray]:
    """Multiply a vector by a 3x3 matrix given as 9 coefficients, which broadcast with it."""
    x, y, z = vector
    return [(matrix[3 * k] * x + matrix[3 * k + 1] * y) + matrix[3 * k + 2] * z for k in range(3)]


def interval(
    shape: Shape, origin: Triple, direction: Triple, taper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameters between which a ray is inside a unit shape.

    Args:
        shape: The unit shape.
        origin: Ray origin in the shape's coordinates.
        direction: Ray direction in the shape's coordinates.
        taper: Of a frustum.

    Returns:
        Entry and exit; where the ray misses, the entry is not before the exit.
    """
    if shape is Shape.BOX:
        return slab(origin, direction)
    if shape is Shape.ELLIPSOID:
        return _sphere(origin, direction)
    return _frustum(origin, direction, taper)


def slab(origin: Triple, direction: Triple) -> tuple[np.ndarray, np.ndarray]:
    """:func:`interval` of the cube."""
    near = far = None
    for o, d in zip(origin, direction, strict=True):
        inverse = 1.0 / _not_zero(d)
        middle = o * inverse
        reach = np.abs(inverse)
        low, high = -reach - middle, reach - middle
        near = low if near is None else np.maximum(near, low, out=near)
        far = high if far is None else np.minimum(far, high, out=far)
    assert near is not None
    assert far is not None
    return near, far


def _sphere(origin: Triple, direction: Triple) -> tuple[np.ndarray, np.ndarray]:
    ox, oy, oz = origin
    dx, dy, dz = direction
    a = (dx * dx + dy * dy) + dz * dz
    b = (ox * dx + oy * dy) + oz * dz
    c = (ox * ox + oy * oy) + (oz * oz - 1.0)
    return _roots(a, b, c)


def _frustum(origin: Triple, direction: Triple, taper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The double cone cut by the two end planes.

    Between the planes ``1 + taper z`` is positive, so that only one half of the double cone is
    left. A ray steeper than the mantle (``a < 0``) is inside before its first root and after its
    second; one of the two ranges lies in the other half of the cone and is cut away.
    """
    ox, oy, oz = origin
    dx, dy, dz = direction
    slope = taper * dz
    rim = 1.0 + taper * oz
    a = dx * dx + dy * dy - slope * slope
    b = ox * dx + oy * dy - slope * rim
    c = ox * ox + oy * oy - rim * rim
    near, far = _roots(_not_zero(a), b, c)
    inverse = 1.0 / _not_zero(dz)
    reach = np.abs(inverse)
    low, high = -reach - oz * inverse, reach - oz * inverse
    steep = a < 0.0
    if np.any(steep):
        # near/far are the larger/smaller root here: keep the side that overlaps the end planes
        after = steep & (near < high)
        before = steep & ~after
        low = np.where(after, np.maximum(low, near), low)
        high = np.where(before, np.minimum(high, far), high)
        missed = steep & (b * b < a * c)  # no root: inside the cone all the way
        low = np.where(missed, -reach - oz * inverse, low)
        high = np.where(missed, reach - oz * inverse, high)
        near, far = np.where(steep, low, near), np.where(steep, high, far)
    return np.maximum(near, low), np.minimum(far, high)


def _roots(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = b * b - a * c
    root = np.sqrt(np.maximum(square, 0.0))
    inverse = 1.0 / a
    near, far = (-b - root) * inverse, (root - b) * inverse
    return np.where(square > 0.0, near, np.float32(np.inf)), far


def _not_zero(d: np.ndarray) -> np.ndarray:
    """The same number, but for zero; 1e-20 is far below the last digit of any real direction."""
    return d + _TINY
