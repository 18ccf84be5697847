"""A slow look at a room: walk along each ray and ask every solid whether the point is inside it.

Shares nothing with the renderer but the list of solids: no intersections, no bounding boxes, no
unit shapes, float64 throughout.
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
    """Ray parameter of the first point of a walk that is in a solid or outside the room.

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
    """Whether a solid holds a point of the way from ``a`` to ``b``, both ends left out."""
    a, b = np.array(a, np.float64), np.array(b, np.float64)
    length = np.linalg.norm(b - a)
    t = np.arange(4 * step, length - 4 * step, step) / length
    points = a + t[:, None] * (b - a)
    return any(inside(solid, points).any() for solid in solids)
