"""Right-handed coordinate frames in which furniture and limbs are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from taskprism.rooms.arithmetic import Vec, cosine, sine


@dataclass(frozen=True, slots=True)
class Frame:
    """A place and three unit axes in the world.

    The world's origin is the middle of the floor, its z axis points up, its unit is the meter.
    Furniture stands on its frame's origin with its front toward -y and its back toward +y.
    """

    origin: Vec = (0.0, 0.0, 0.0)
    x: Vec = (1.0, 0.0, 0.0)
    y: Vec = (0.0, 1.0, 0.0)
    z: Vec = (0.0, 0.0, 1.0)

    def point(self, a: float, b: float, c: float) -> Vec:
        """World place of the frame's own coordinates."""
        o, x, y, z = self.origin, self.x, self.y, self.z
        return (
            o[0] + a * x[0] + b * y[0] + c * z[0],
            o[1] + a * x[1] + b * y[1] + c * z[1],
            o[2] + a * x[2] + b * y[2] + c * z[2],
        )

    def moved(self, a: float, b: float, c: float) -> Frame:
        """The same axes at another place, given in the frame's own coordinates."""
        return Frame(self.point(a, b, c), self.x, self.y, self.z)

    def turned(self, axis: Literal["x", "y", "z"], angle: float) -> Frame:
        """Turned by an angle (radians, right-hand rule) about one of its own axes."""
        return self.rotated(axis, cosine(angle), sine(angle))

    def rotated(self, axis: Literal["x", "y", "z"], c: float, s: float) -> Frame:
        """:meth:`turned` by the angle with this cosine and sine."""
        if axis == "x":
            return Frame(
                self.origin, self.x, _mix(self.y, c, self.z, s), _mix(self.z, c, self.y, -s)
            )
        if axis == "y":
            return Frame(
                self.origin, _mix(self.x, c, self.z, -s), self.y, _mix(self.z, c, self.x, s)
            )
        return Frame(self.origin, _mix(self.x, c, self.y, s), _mix(self.y, c, self.x, -s), self.z)


def _mix(a: Vec, p: float, b: Vec, q: float) -> Vec:
    return (a[0] * p + b[0] * q, a[1] * p + b[1] * q, a[2] * p + b[2] * q)
