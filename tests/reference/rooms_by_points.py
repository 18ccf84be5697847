"""A slow renderer of rooms: step along each ray and test whether the point is inside a solid.

It shares only the list of solids with the renderer. It uses no intersections, bounding boxes or
unit shapes, and computes in float64.
"""

import numpy as np

from taskprism.rooms.solids import Shape


def inside(solid, points):
    """Whether ``(N, 3)`` points are in a solid."""
    offset = points - np.array(solid.frame.origin)
    x, y, z = (offset @ np.array(axis) for axis in (solid.frame.x, solid.frame.y, solid.frame.z))
    a, b, c = solid.half
    if solid.shape is Shape.BOX:
        return (np.abs(x) <= a) & (np.abs(y) <= b) & (np.abs(z) <= c)
    if solid.shape is Shape.ELLIPSOID:
        return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 <= 1
    radius = 1 + solid.taper * z / c
    return (np.abs(z) <= c) & (np.hypot(x / a, y / b) <= radius)


def first_inside(solids, room, origin, direction, step):
    """Ray parameter of the first step that is inside a solid or outside the room.

    Returns:
        The parameter, and the index of a solid there (-1 for the room's walls).
    """
    t = np.arange(step, 20.0, step)
    points = np.array(origin) + t[:, None] * np.array(direction, np.float64)
    w, d, h = room
    out = (np.abs(points[:, 0]) > w / 2) | (np.abs(points[:, 1]) > d / 2)
    out |= (points[:, 2] < 0) | (points[:, 2] > h)
    best, found = t[np.argmax(out)], -1
    t, points = t[t < best], points[t < best]
    for index, solid in enumerate(solids):
        hit = inside(solid, points) & (t < best)
        if hit.any():
            best, found = t[np.argmax(hit)], index
    return best, found


def something_between(solids, a, b, step):
    """Whether a solid contains a point between ``a`` and ``b``, excluding both ends."""
    a, b = np.array(a, np.float64), np.array(b, np.float64)
    length = np.linalg.norm(b - a)
    t = np.arange(4 * step, length - 4 * step, step) / length
    points = a + t[:, None] * (b - a)
    return any(inside(solid, points).any() for solid in solids)
