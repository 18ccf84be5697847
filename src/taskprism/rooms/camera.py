"""The pinhole camera and its rays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import Vec, cosine, radians, sine
from taskprism.rooms.frames import Frame

STEREO_BASELINE = 0.1
"""Meters between the cameras of the imagined stereo rig whose disparity is labeled: the disparity
of a point at depth ``z`` is ``STEREO_BASELINE * focal / z`` pixels."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the picture is taken from.

    Its axes are x right, y up and z *backward*, toward the photographer, which is the convention of
    the normals. The principal point is the middle of the image, pixels are square.

    Attributes:
        frame: Optical center and axes, in the world.
        tangent: Tangent of half the horizontal field of view.
    """

    frame: Frame
    tangent: float

    @staticmethod
    def looking(place: Vec, yaw: float, pitch: float, roll: float, view: float) -> Camera:
        """Camera at a place.

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
        """Rays through image places (pixels, the first pixel's middle is 0.5).

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
