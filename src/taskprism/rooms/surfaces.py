"""The surface points that camera rays hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import dot
from taskprism.rooms.camera import Camera
from taskprism.rooms.materials import Spots
from taskprism.rooms.solids import FACES, Shape, SolidTable
from taskprism.rooms.tracing import transform


@dataclass(frozen=True)
class Surface:
    """Visible points, one column per ray.

    Attributes:
        point: float32 ``(3, N)``, world, meters.
        normal: float32 ``(3, N)``, world, unit, toward the visible side.
        direction: float32 ``(3, N)``, of the camera rays, length 1 along the optical axis.
        depth: float32 ``(N,)``, meters along the optical axis.
        face: int32 ``(N,)``, ``solid * FACES + face``.
        spots: The same points in the coordinates of their surfaces.

    Example:
        See :func:`visible_surface`, which computes it.
    """

    point: np.ndarray
    normal: np.ndarray
    direction: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    spots: Spots


def visible_surface(
    table: SolidTable,
    camera: Camera,
    focal: float,
    directions: np.ndarray,
    depth: np.ndarray,
    solid: np.ndarray,
) -> Surface:
    """Compute the points where camera rays hit their nearest solids.

    Args:
        table: The scene.
        camera: Origin of the rays.
        focal: Focal length in pixels.
        directions: float32 ``(3, N)``, of length 1 along the optical axis.
        depth: float32 ``(N,)``.
        solid: int16 ``(N,)``, number of the nearest solid.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.camera import Camera
        >>> from taskprism.rooms.solids import pack
        >>> from taskprism.rooms.surfaces import visible_surface
        >>> camera = Camera.looking((0.0, 0.0, 1.5), 0.0, 0.0, 0.0, 60.0)
        >>> empty = pack((4.0, 6.0, 3.0), (0,) * 6, [])
        >>> ahead = np.array([[0.0], [1.0], [0.0]], np.float32)
        >>> depth, solid = np.full(1, 3.0, np.float32), np.zeros(1, np.int16)
        >>> visible_surface(empty, camera, 100.0, ahead, depth, solid).normal[1].tolist()
        [-1.0]
    """
    origin = np.array(camera.frame.origin, np.float32)
    point = directions * depth + origin[:, None]
    matrix = table.matrix[:, solid]
    unit_point = transform(matrix, point - table.center[:, solid])
    unit_ray = transform(matrix, directions)
    axis, signs, face = _box_faces(solid, unit_point, unit_ray)
    unit_normal = [np.where(axis == k, signs[k], np.float32(0.0)) for k in range(3)]
    for shape in (Shape.ELLIPSOID, Shape.FRUSTUM):
        index = np.flatnonzero(table.shape[solid] == shape)
        if not index.size:
            continue
        at = [unit_point[k][index] for k in range(3)]
        own = [np.zeros(index.size, np.int8), at]
        if shape is Shape.FRUSTUM:
            ray = [unit_ray[k][index] for k in range(3)]
            own = _frustum_faces(at, ray, table.taper[solid[index]])
        face[index] = own[0]
        axis[index] = 1  # texture coordinates: u along x, v along the axis z
        for k in range(3):
            unit_normal[k][index] = own[1][k]
    transposed = [matrix[3 * row + column] for column in range(3) for row in range(3)]
    normal = np.stack(transform(transposed, unit_normal))
    normal /= np.sqrt(dot(normal, normal))
    number = solid.astype(np.int32) * FACES + face
    spots = _spots(
        table, solid, number, axis, unit_point, _footprint(focal, directions, normal, depth)
    )
    return Surface(point, normal, directions, depth, number, spots)


def _box_faces(
    solid: np.ndarray, point: list[np.ndarray], ray: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Axis, signs of the normal and number of the visible face of a box nearest to each point.

    Only faces turned toward the ray's origin are considered, so that rounding at the edge of a face
    never selects a face that is turned away. The room (solid 0) is seen from inside.
    """
    signs = [np.where(d > 0.0, np.float32(-1.0), np.float32(1.0)) for d in ray]
    outward = np.where(solid == 0, np.float32(-1.0), np.float32(1.0))
    height = [point[k] * signs[k] * outward for k in range(3)]
    axis = np.where(height[1] > height[0], np.int8(1), np.int8(0))
    axis[height[2] > np.maximum(height[0], height[1])] = 2
    sign = np.choose(axis, signs) * outward
    face = axis * np.int8(2) + (sign > 0.0)
    return axis, signs, face


def _frustum_faces(
    point: list[np.ndarray], ray: list[np.ndarray], taper: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Face number (mantle, lower end, upper end) and normal in unit coordinates."""
    x, y, z = point
    rim = 1.0 + taper * z
    mantle = [x, y, -taper * rim]
    facing = dot(mantle, ray) < 0.0
    sign = np.where(ray[2] > 0.0, np.float32(-1.0), np.float32(1.0))
    end = (z * sign > np.sqrt(x * x + y * y) / rim) | ~facing
    face = np.where(end, np.where(sign > 0.0, np.int8(2), np.int8(1)), np.int8(0))
    zero = np.float32(0.0)
    return face, [
        np.where(end, zero, mantle[0]),
        np.where(end, zero, mantle[1]),
        np.where(end, sign, mantle[2]),
    ]


def _footprint(
    focal: float, directions: np.ndarray, normal: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    slant = np.abs(dot(directions, normal))
    return depth / (np.float32(focal) * np.maximum(slant, 0.1))


def _spots(
    table: SolidTable,
    solid: np.ndarray,
    number: np.ndarray,
    axis: np.ndarray,
    point: list[np.ndarray],
    footprint: np.ndarray,
) -> Spots:
    half = table.half[:, solid]
    first = axis == 0
    last = axis == 2
    across = np.where(first, point[1], point[0])
    up = np.where(last, point[1], point[2])
    off = np.choose(axis, point)
    return Spots(
        u=across * np.where(first, half[1], half[0]),
        v=up * np.where(last, half[1], half[2]),
        w=off * np.choose(axis, list(half)),
        across=across,
        up=up,
        footprint=footprint,
        material=table.material[number],
    )
