"""The floor plan: which parts of the floor and the walls are occupied."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from taskprism.rooms.arithmetic import Vec
from taskprism.rooms.camera import Frame


@dataclass(frozen=True, slots=True)
class Footprint:
    """A rotated rectangle on the floor.

    Attributes:
        x: Of the center, meters.
        y: Likewise.
        half_width: Half of the width, meters.
        half_depth: Half of the depth, meters.
        cos: Cosine of the rotation.
        sin: Sine of the rotation.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.plan import Footprint
        >>> table = Footprint.of(Frame(), 1.0, 1.0)
        >>> round(table.gap(Footprint.of(Frame((3.0, 0.0, 0.0)), 1.0, 1.0)), 2)
        1.59
    """

    x: float
    y: float
    half_width: float
    half_depth: float
    cos: float
    sin: float

    @staticmethod
    def of(frame: Frame, width: float, depth: float) -> Footprint:
        """Footprint of a piece of this size on the origin of a frame."""
        x, y, _ = frame.origin
        return Footprint(x, y, width / 2.0, depth / 2.0, frame.x[0], frame.x[1])

    @property
    def radius(self) -> float:
        """Radius of the circle around it."""
        return math.sqrt(self.half_width * self.half_width + self.half_depth * self.half_depth)

    def reach(self, dx: float, dy: float) -> float:
        """Half of its extent along a unit direction."""
        along = abs(dx * self.cos + dy * self.sin) * self.half_width
        return along + abs(dy * self.cos - dx * self.sin) * self.half_depth

    def gap(self, other: Footprint) -> float:
        """Lower bound of the distance of two footprints; negative if they overlap."""
        dx, dy = other.x - self.x, other.y - self.y
        apart = math.sqrt(dx * dx + dy * dy) - self.radius - other.radius
        if apart > 0.0:
            return apart
        best = apart
        for f in (self, other):
            for ax, ay in ((f.cos, f.sin), (-f.sin, f.cos)):
                free = abs(dx * ax + dy * ay) - self.reach(ax, ay) - other.reach(ax, ay)
                best = max(best, free)
        return best


@dataclass
class Wall:
    """A wall seen from inside.

    Attributes:
        frame: At the middle of its foot; x to the right, y out of the room, z up.
        length: Meters.
        taken: Occupied rectangles ``(left, right, bottom, top)``, meters.
        doors: Spans ``(left, right)`` of the doors, meters.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.plan import Wall
        >>> wall = Wall(Frame(), length=4.0, taken=[(-0.5, 0.5, 0.0, 2.0)])
        >>> wall.free(-0.2, 0.8, 0.0, 1.0), wall.free(0.6, 1.5, 0.0, 1.0)
        (False, True)
    """

    frame: Frame
    length: float
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)
    doors: list[tuple[float, float]] = field(default_factory=list)

    def free(self, left: float, right: float, bottom: float, top: float) -> bool:
        """Whether a rectangle of the wall is free and not too close to its ends."""
        if left < -self.length / 2.0 + 0.05 or right > self.length / 2.0 - 0.05:
            return False
        return all(right <= a or left >= b or top <= c or bottom >= d for a, b, c, d in self.taken)


class Plan:
    """Floor and walls of a room, with what has been placed there.

    Args:
        width: Along x, meters.
        depth: Along y, meters.
        height: Along z, meters.

    Attributes:
        footprints: Occupied parts of the floor.
        walls: The four walls.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.plan import Footprint, Plan
        >>> plan = Plan(4.0, 5.0, 2.5)
        >>> plan.footprints.append(Footprint.of(Frame(), 1.0, 1.0))
        >>> plan.fits(Footprint.of(Frame((0.5, 0.0, 0.0)), 1.0, 1.0), gap=0.1)
        False
    """

    def __init__(self, width: float, depth: float, height: float) -> None:
        self.width, self.depth, self.height = width, depth, height
        self.footprints: list[Footprint] = []
        x, y, up = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
        back, left = (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)
        self.walls = [
            Wall(Frame((0.0, depth / 2.0, 0.0), x, y, up), width),
            Wall(Frame((width / 2.0, 0.0, 0.0), back, x, up), depth),
            Wall(Frame((0.0, -depth / 2.0, 0.0), left, back, up), width),
            Wall(Frame((-width / 2.0, 0.0, 0.0), y, left, up), depth),
        ]

    def holds(self, footprint: Footprint) -> bool:
        """Whether a footprint is within the walls."""
        across = abs(footprint.x) + footprint.reach(1.0, 0.0)
        along = abs(footprint.y) + footprint.reach(0.0, 1.0)
        return across < self.width / 2.0 - 0.005 and along < self.depth / 2.0 - 0.005

    def fits(self, footprint: Footprint, gap: float) -> bool:
        """Whether a footprint is within the walls and at least ``gap`` away from all others."""
        return self.holds(footprint) and all(
            footprint.gap(other) >= gap for other in self.footprints
        )

    def clearance(self, place: Vec) -> float:
        """Distance on the floor to the nearest footprint or wall, meters."""
        point = Footprint(place[0], place[1], 0.0, 0.0, 1.0, 0.0)
        walls = min(self.width / 2.0 - abs(place[0]), self.depth / 2.0 - abs(place[1]))
        return min([walls, *(point.gap(other) for other in self.footprints)])
