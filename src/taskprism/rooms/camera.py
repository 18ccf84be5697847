"""Frames of reference and the pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from taskprism.rooms.arithmetic import Vec, cosine, radians, sine


@dataclass(frozen=True, slots=True)
class Frame:
    """A position and three unit axes in the world.

    The world's origin is the center of the floor, its z axis points up, its unit is the meter.
    Furniture stands on its frame's origin with its front toward -y and its back toward +y.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> Frame((1.0, 0.0, 0.0)).moved(0.0, 2.0, 0.0).origin
        (1.0, 2.0, 0.0)
    """

    origin: Vec = (0.0, 0.0, 0.0)
    x: Vec = (1.0, 0.0, 0.0)
    y: Vec = (0.0, 1.0, 0.0)
    z: Vec = (0.0, 0.0, 1.0)

    def point(self, a: float, b: float, c: float) -> Vec:
        """World coordinates of a point given in the frame's coordinates."""
        o, x, y, z = self.origin, self.x, self.y, self.z
        return (
            o[0] + a * x[0] + b * y[0] + c * z[0],
            o[1] + a * x[1] + b * y[1] + c * z[1],
            o[2] + a * x[2] + b * y[2] + c * z[2],
        )

    def moved(self, a: float, b: float, c: float) -> Frame:
        """The same axes at another origin, given in the frame's coordinates."""
        return Frame(self.point(a, b, c), self.x, self.y, self.z)

    def turned(self, axis: Literal["x", "y", "z"], angle: float) -> Frame:
        """The frame turned by an angle (radians, right-hand rule) about one of its axes."""
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


STEREO_BASELINE = 0.1
"""Distance between the two cameras of the stereo rig whose disparity is labeled, in meters. The
disparity of a point at depth ``z`` is ``STEREO_BASELINE * focal / z`` pixels."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera.

    Its axes are x right, y up and z *backward*, toward the photographer, which is the convention of
    the normals. The principal point is the center of the image, pixels are square.

    Attributes:
        frame: Optical center and axes, in the world.
        tangent: Tangent of half the horizontal field of view.

    Example:
        >>> from taskprism.rooms.camera import Camera
        >>> camera = Camera.looking((0.0, 0.0, 1.5), 0.0, 0.0, 0.0, 90.0)
        >>> round(camera.focal(width=200), 6)
        100.0
    """

    frame: Frame
    tangent: float

    @staticmethod
    def looking(place: Vec, yaw: float, pitch: float, roll: float, view: float) -> Camera:
        """Camera at a position, with three angles.

        Args:
            place: Optical center in the world, meters.
            yaw: Direction of view, radians counter-clockwise from the world's y axis.
            pitch: Upward tilt, radians.
            roll: Turn about the optical axis, radians.
            view: Horizontal field of view, degrees.
        """
        level = Frame(place, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
        half = radians(view) / 2.0
        return Camera(
            level.turned("y", yaw).turned("x", pitch).turned("z", roll), sine(half) / cosine(half)
        )

    def focal(self, width: int) -> float:
        """Focal length in pixels of an image this wide."""
        return width / 2.0 / self.tangent

    def project(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """World points ``(3, ...)`` -> columns, rows (pixels, fractional) and depth (meters)."""
        height, width = size
        o = self.frame.origin
        x, y, z = points[0] - o[0], points[1] - o[1], points[2] - o[2]
        right, up, back = (
            (x * a[0] + y * a[1]) + z * a[2] for a in (self.frame.x, self.frame.y, self.frame.z)
        )
        depth = -back
        scale = self.focal(width) / np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        return right * scale + width / 2.0, height / 2.0 - up * scale, depth

    def directions(
        self, columns: np.ndarray, rows: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        """Rays through image positions (pixels; the center of the first pixel is 0.5).

        Returns:
            float32 ``(3, ...)`` world directions of length 1 *along the optical axis*, so that the
            ray parameter is the depth.
        """
        height, width = size
        focal = self.focal(width)
        a = (columns - width / 2.0) / focal
        b = (height / 2.0 - rows) / focal
        x, y, z = self.frame.x, self.frame.y, self.frame.z
        return np.stack([a * x[k] + b * y[k] - z[k] for k in range(3)]).astype(np.float32)
