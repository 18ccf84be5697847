"""Solids: affine images of three unit shapes, of which everything in a room consists."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from taskprism.rooms.arithmetic import Vec
from taskprism.rooms.camera import Frame

FACES = 6
"""Face numbers per solid. A box has 6 faces (axis * 2 + positive side), a frustum a mantle, a lower
and an upper end (0, 1, 2), an ellipsoid one."""

FLOOR_FACE, CEILING_FACE = 4, 5


class Shape(IntEnum):
    """The unit shapes, in coordinates from -1 to 1.

    Example:
        >>> from taskprism.rooms.solids import Shape
        >>> [shape.name for shape in Shape]
        ['BOX', 'ELLIPSOID', 'FRUSTUM']
    """

    BOX = 0
    ELLIPSOID = 1
    FRUSTUM = 2  # x^2 + y^2 <= (1 + taper * z)^2


@dataclass(frozen=True, slots=True)
class Solid:
    """A unit shape, stretched along the axes of a frame.

    Attributes:
        shape: The unit shape.
        frame: Center and axes.
        half: Half of the extents along the axes, meters.
        taper: Of a frustum: how much the radius grows toward the upper end, in (-1, 1).
        material: Number of the material.
        group: Number of the piece of furniture it belongs to.
        instance: Number of the thing it belongs to.
        part: Part of a mannequin.
        casts_shadow: Whether it blocks light.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.solids import Shape, Solid
        >>> half = (0.2, 0.2, 0.5)
        >>> Solid(Shape.BOX, Frame(), half, 0.0, 0, 0, 3, 0, casts_shadow=True).half
        (0.2, 0.2, 0.5)
    """

    shape: Shape
    frame: Frame
    half: Vec
    taper: float
    material: int
    group: int
    instance: int
    part: int
    casts_shadow: bool


@dataclass(frozen=True)
class Group:
    """Solids that cast shadows and share a bounding box.

    Attributes:
        low: Smallest world coordinates of the box, meters.
        high: Largest world coordinates.
        runs: Shape, first solid and last solid + 1 of each run of solids of one shape.

    Example:
        >>> from taskprism.rooms.solids import Group, Shape
        >>> Group((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ((Shape.BOX, 1, 3),)).runs[0][1:]
        (1, 3)
    """

    low: Vec
    high: Vec
    runs: tuple[tuple[Shape, int, int], ...]


@dataclass(frozen=True)
class SolidTable:
    """All solids of a scene, one column each. Solid 0 is the room, seen from inside.

    Attributes:
        shape: int8 ``(K,)``.
        matrix: float32 ``(9, K)``, rows of the 3x3 matrix from the world to the unit shape.
        center: float32 ``(3, K)``, meters.
        half: float32 ``(3, K)``, meters.
        taper: float32 ``(K,)``.
        corners: float32 ``(3, 8, K)``, corners of each solid's own bounding box in the world.
        material: int16 ``(6 K,)``, by ``solid * FACES + face``.
        instance: int16 ``(6 K,)``.
        part: uint8 ``(6 K,)``.
        groups: The solids that cast shadows.

    Example:
        >>> from taskprism.rooms.solids import pack
        >>> empty = pack((4.0, 6.0, 3.0), (0,) * 6, [])
        >>> empty.inside
        (2.0, 3.0, 1.5)
    """

    shape: np.ndarray
    matrix: np.ndarray
    center: np.ndarray
    half: np.ndarray
    taper: np.ndarray
    corners: np.ndarray
    material: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    groups: tuple[Group, ...]

    @property
    def inside(self) -> Vec:
        """Half of the width, depth and height of the room, meters."""
        half = self.half[:, 0].tolist()
        return (half[0], half[1], half[2])


def pack(room: Vec, shell_materials: tuple[int, ...], solids: list[Solid]) -> SolidTable:
    """Make the table of a room and the solids in it.

    Args:
        room: Width, depth and height, meters.
        shell_materials: Numbers of the materials of the walls -x, +x, -y, +y, floor and ceiling.
        solids: In any order.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.solids import Shape, Solid, pack
        >>> ball = Solid(Shape.ELLIPSOID, Frame(), (0.1, 0.1, 0.1), 0.0, 0, 0, 3, 0, True)
        >>> pack((4.0, 6.0, 3.0), (0,) * 6, [ball]).shape.tolist()
        [0, 1]
    """
    ordered = sorted(solids, key=lambda s: (s.group, not s.casts_shadow, s.shape))
    shell = Solid(
        shape=Shape.BOX,
        frame=Frame((0.0, 0.0, room[2] / 2.0)),
        half=(room[0] / 2.0, room[1] / 2.0, room[2] / 2.0),
        taper=0.0,
        material=0,
        group=-1,
        instance=0,
        part=0,
        casts_shadow=False,
    )
    every = [shell, *ordered]
    axes = np.array([(s.frame.x, s.frame.y, s.frame.z) for s in every])  # (K, axis, world)
    half = np.array([s.half for s in every])
    center = np.array([s.frame.origin for s in every])
    taper = np.array([s.taper for s in every])
    corners = _corners(axes, half, center, taper)

    material = np.repeat(np.array([s.material for s in every], np.int16), FACES)
    material[:FACES] = shell_materials
    instance = np.repeat(np.array([s.instance for s in every], np.int16), FACES)
    instance[FLOOR_FACE], instance[CEILING_FACE] = 1, 2
    return SolidTable(
        shape=np.array([s.shape for s in every], np.int8),
        matrix=(axes / half[:, :, None]).reshape(-1, 9).T.astype(np.float32),
        center=center.T.astype(np.float32),
        half=half.T.astype(np.float32),
        taper=taper.astype(np.float32),
        corners=corners.astype(np.float32),
        material=material,
        instance=instance,
        part=np.repeat(np.array([s.part for s in every], np.uint8), FACES),
        groups=_groups(ordered, corners),
    )


def _corners(
    axes: np.ndarray, half: np.ndarray, center: np.ndarray, taper: np.ndarray
) -> np.ndarray:
    widest = 1.0 + np.abs(taper)
    reach = half * np.stack([widest, widest, np.ones_like(widest)], axis=1)
    arms = axes * reach[:, :, None]  # (K, axis, world)
    columns = []
    for corner in range(8):
        x, y, z = (1.0 if corner >> k & 1 else -1.0 for k in range(3))
        columns.append(((center + x * arms[:, 0]) + y * arms[:, 1]) + z * arms[:, 2])
    return np.stack(columns).transpose(2, 0, 1)


def _groups(ordered: list[Solid], corners: np.ndarray) -> tuple[Group, ...]:
    groups: list[Group] = []
    start = 0
    while start < len(ordered):
        stop = start
        while stop < len(ordered) and ordered[stop].group == ordered[start].group:
            stop += 1
        casters = [k for k in range(start, stop) if ordered[k].casts_shadow]
        if casters:
            runs: list[tuple[Shape, int, int]] = []
            for k in casters:
                if runs and runs[-1][0] == ordered[k].shape:
                    runs[-1] = (*runs[-1][:2], k + 2)
                else:
                    runs.append((ordered[k].shape, k + 1, k + 2))
            own = corners[:, :, casters[0] + 1 : casters[-1] + 2]
            low, high = own.min(axis=(1, 2)).tolist(), own.max(axis=(1, 2)).tolist()
            groups.append(Group(tuple(low), tuple(high), tuple(runs)))
        start = stop
    return tuple(groups)
