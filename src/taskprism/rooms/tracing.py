"""Ray casting: what a ray hits first, and whether anything is between two points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import Triple, dot
from taskprism.rooms.camera import Camera
from taskprism.rooms.solids import Group, Shape, SolidTable

_TINY = np.float32(1e-20)


def transform(matrix: Triple | np.ndarray, vector: Triple | np.ndarray) -> list[np.ndarray]:
    """Multiply a vector by a 3x3 matrix given as 9 coefficients, which broadcast with it.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.tracing import transform
        >>> [float(x) for x in transform(np.eye(3).ravel() * 2.0, np.array([1.0, 2.0, 3.0]))]
        [2.0, 4.0, 6.0]
    """
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

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.solids import Shape
        >>> from taskprism.rooms.tracing import interval
        >>> zero = np.zeros(1)
        >>> near, far = interval(Shape.BOX, [zero - 3, zero, zero], [zero + 1, zero, zero], zero)
        >>> float(near[0]), float(far[0])
        (2.0, 4.0)
    """
    if shape is Shape.BOX:
        return slab(origin, direction)
    if shape is Shape.ELLIPSOID:
        return _sphere(origin, direction)
    return _frustum(origin, direction, taper)


def slab(origin: Triple, direction: Triple) -> tuple[np.ndarray, np.ndarray]:
    """:func:`interval` of the box.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.tracing import slab
        >>> zero = np.zeros(1)
        >>> near, far = slab([zero, zero, zero - 5], [zero, zero, zero + 2])
        >>> float(near[0]), float(far[0])
        (2.0, 3.0)
    """
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
    a = dot(direction, direction)
    b = dot(origin, direction)
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
        missed = steep & (b * b < a * c)  # no root: inside the cone all the segment
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
    """Replace 0 by 1e-20, which is below the precision of all other directions."""
    return d + _TINY


Window = tuple[slice, ...]

NEAR = 0.05
"""Smallest depth that is visible, meters."""

_CLEAR = 2e-3  # fraction at both ends of a shadow ray where hits do not count


@dataclass(frozen=True)
class Rays:
    """Camera rays, either of every pixel or of a list of image positions in order of rows.

    Attributes:
        directions: float32 ``(3, H, W)`` or ``(3, N)``, of length 1 along the optical axis.
        rows: Row of each position of a list, ascending; None for every pixel.

    Example:
        >>> from taskprism.rooms.camera import Camera
        >>> from taskprism.rooms.tracing import Rays
        >>> camera = Camera.looking((0.0, 0.0, 1.5), 0.0, 0.0, 0.0, 60.0)
        >>> Rays.of_pixels(camera, (6, 8)).directions.shape
        (3, 6, 8)
    """

    directions: np.ndarray
    rows: np.ndarray | None = None

    @staticmethod
    def of_pixels(camera: Camera, size: tuple[int, int]) -> Rays:
        """One ray through the center of every pixel."""
        height, width = size
        columns = np.arange(width)[None, :] + np.zeros((height, 1)) + 0.5
        rows = np.arange(height)[:, None] + np.zeros((1, width)) + 0.5
        return Rays(camera.directions(columns, rows, size))

    def window(self, left: int, top: int, right: int, bottom: int) -> Window:
        """Index of the rays that can be within these pixel bounds (ends excluded)."""
        if self.rows is None:
            return (slice(top, bottom), slice(left, right))
        start, stop = np.searchsorted(self.rows, (top, bottom))
        return (slice(int(start), int(stop)),)


def first_hits(
    table: SolidTable,
    camera: Camera,
    size: tuple[int, int],
    rays: Rays,
    only: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest solid along every camera ray.

    Args:
        table: The scene.
        camera: Origin of the rays.
        size: ``(H, W)`` of the image, pixels.
        rays: The rays.
        only: Solids to try, all by default; the room itself is always tried.

    Returns:
        Depth (float32, meters) and number of the solid (int16), each of the rays' shape.

    Example:
        >>> from taskprism.rooms.camera import Camera
        >>> from taskprism.rooms.solids import pack
        >>> from taskprism.rooms.tracing import Rays, first_hits
        >>> camera = Camera.looking((0.0, 0.0, 1.5), 0.0, 0.0, 0.0, 60.0)  # toward +y
        >>> empty = pack((4.0, 6.0, 3.0), (0,) * 6, [])
        >>> depth, solid = first_hits(empty, camera, (9, 9), Rays.of_pixels(camera, (9, 9)))
        >>> float(depth[4, 4]), int(solid[4, 4])
        (3.0, 0)
    """
    origin = camera.frame.origin
    flat = rays.directions
    _, depth = _meet(table, 0, origin, flat)
    solid = np.zeros(depth.shape, np.int16)
    bounds = _bounds(table, camera, size)
    for k in range(1, len(table.shape)) if only is None else only.tolist():
        left, top, right, bottom = bounds[k]
        if k == 0 or left >= right or top >= bottom:
            continue
        window = rays.window(left, top, right, bottom)
        near, far = _meet(table, k, origin, flat[(slice(None), *window)])
        known = depth[window]
        closer = (near < known) & (near < far) & (near > NEAR)
        np.copyto(known, near, where=closer)
        np.copyto(solid[window], np.int16(k), where=closer)
    return depth, solid


def _meet(
    table: SolidTable, k: int, origin: tuple[float, ...], directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # arrays of one element: NumPy 1 and 2 differ in the precision of scalars
    own = slice(k, k + 1)
    matrix = table.matrix[:, own]
    offset = [np.float32(origin[i]) - table.center[i, own] for i in range(3)]
    return interval(
        Shape(table.shape[k]),
        transform(matrix, offset),
        transform(matrix, directions),
        table.taper[own],
    )


def _bounds(table: SolidTable, camera: Camera, size: tuple[int, int]) -> list[list[int]]:
    """Pixel bounds ``[left, top, right, bottom]`` of every solid, empty where it is not in view."""
    height, width = size
    column, row, depth = camera.project(table.corners.astype(np.float64), size)
    left, right = np.floor(column.min(axis=0) - 0.5), np.ceil(column.max(axis=0) + 0.5)
    top, bottom = np.floor(row.min(axis=0) - 0.5), np.ceil(row.max(axis=0) + 0.5)
    crosses = depth.min(axis=0) < NEAR  # the projected corners do not bound it
    behind = depth.max(axis=0) < NEAR
    left, top = np.where(crosses, 0, left), np.where(crosses, 0, top)
    right, bottom = np.where(crosses, width, right), np.where(crosses, height, bottom)
    right = np.where(behind, left, right)
    right = np.clip(right, 0, width)
    bottom = np.clip(bottom, 0, height)
    bounds = np.stack([np.clip(left, 0, width), np.clip(top, 0, height), right, bottom], axis=1)
    return bounds.astype(np.int64).tolist()


def blocked(table: SolidTable, origin: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Whether a solid that casts shadows is between the ends of a segment.

    Args:
        table: The scene.
        origin: float32 ``(3, N)``, points in the world, slightly above the surfaces.
        segment: float32 ``(3, N)``; it ends at ``origin + segment``.

    Returns:
        Boolean ``(N,)``.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.solids import Shape, Solid, pack
        >>> from taskprism.rooms.tracing import blocked
        >>> ball = Solid(Shape.ELLIPSOID, Frame((0, 0, 1)), (0.1, 0.1, 0.1), 0.0, 0, 0, 3, 0, True)
        >>> room = pack((4.0, 6.0, 3.0), (0,) * 6, [ball])
        >>> up = np.array([[0.0], [0.0], [2.0]], np.float32)
        >>> blocked(room, np.zeros((3, 1), np.float32), up).tolist()
        [True]
    """
    dark = np.zeros(origin.shape[1], np.bool_)
    inverse = 1.0 / (segment + np.float32(1e-20))
    for group in table.groups:
        index = np.flatnonzero(_near_box(group, origin, inverse) & ~dark)
        if not index.size:
            continue
        o, d = origin[:, index], segment[:, index]
        hit = np.zeros(index.size, np.bool_)
        for shape, start, stop in group.runs:
            hit |= _any_hit(table, shape, start, stop, o, d)
        dark[index] = hit
    return dark


def _near_box(group: Group, origin: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    near = far = None
    for k in range(3):
        a = (np.float32(group.low[k]) - origin[k]) * inverse[k]
        b = (np.float32(group.high[k]) - origin[k]) * inverse[k]
        low, high = np.minimum(a, b), np.maximum(a, b, out=a)
        near = low if near is None else np.maximum(near, low, out=near)
        far = high if far is None else np.minimum(far, high, out=far)
    assert near is not None
    assert far is not None
    return (near <= far) & (far > 0.0) & (near < 1.0)


def _any_hit(
    table: SolidTable, shape: Shape, start: int, stop: int, origin: np.ndarray, segment: np.ndarray
) -> np.ndarray:
    matrix = table.matrix[:, start:stop, None]
    center = table.center[:, start:stop, None]
    offset: Triple = [origin[k] - center[k] for k in range(3)]
    near, far = interval(
        shape,
        transform(matrix, offset),
        transform(matrix, segment),
        table.taper[start:stop, None],
    )
    hit = (near < far) & (near < 1.0 - _CLEAR) & (far > _CLEAR)
    return np.logical_or.reduce(hit, axis=0)


def inside_room(table: SolidTable, origin: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Whether ``origin + segment`` is inside the room, boolean ``(N,)``.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.solids import pack
        >>> from taskprism.rooms.tracing import inside_room
        >>> origin = np.array([[0.0], [0.0], [1.5]], np.float32)
        >>> along_x = np.array([[2.5], [0.0], [0.0]], np.float32)
        >>> inside_room(pack((4.0, 6.0, 3.0), (0,) * 6, []), origin, along_x).tolist()
        [False]
    """
    inside = np.ones(origin.shape[1], np.bool_)
    for k in range(3):
        offset = np.abs((origin[k] - table.center[k, 0]) + segment[k])
        inside &= offset < table.half[k, 0]
    return inside
