"""Sources of light: lamps, windows and the sun."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from taskprism.rooms.arithmetic import PI, Dice, Vec, cosine, sine, total
from taskprism.rooms.camera import Frame

SAMPLES = 16
"""Sample points on each light. A pixel tests one and shares the result with its neighbors."""


def ball_samples() -> np.ndarray:
    """``SAMPLES`` points spread evenly over the unit sphere, float64 ``(SAMPLES, 3)``.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.lights import ball_samples
        >>> points = ball_samples()
        >>> points.shape, np.allclose((points**2).sum(axis=1), 1)
        ((16, 3), True)
    """
    golden = PI * (3.0 - math.sqrt(5.0))
    points = []
    for k in range(SAMPLES):
        z = 1.0 - (2.0 * k + 1.0) / SAMPLES
        r = math.sqrt(1.0 - z * z)
        points.append((r * cosine(golden * k), r * sine(golden * k), z))
    return np.array(points)


@dataclass(frozen=True)
class Lamp:
    """A light of finite size inside the room.

    Attributes:
        places: float32 ``(SAMPLES, 3)``, sample points in the world.
        color: Radiant intensity, linear RGB.
        facing: Direction in which a flat light shines; None for all directions.

    Example:
        >>> from taskprism.rooms.lights import Lamp
        >>> lamp = Lamp.ball((0.0, 0.0, 2.0), 0.1, (1.0, 1.0, 1.0))
        >>> lamp.places.shape
        (16, 3)
    """

    places: np.ndarray
    color: Vec
    facing: Vec | None = None

    @property
    def middle(self) -> Vec:
        """Mean of the sample points."""
        x, y, z = (total(column) / SAMPLES for column in self.places.T.tolist())
        return (x, y, z)

    @staticmethod
    def ball(place: Vec, radius: float, color: Vec) -> Lamp:
        """A glowing ball; a small radius gives hard shadows."""
        return Lamp((np.array(place) + radius * ball_samples()).astype(np.float32), color)

    @staticmethod
    def panel(frame: Frame, width: float, height: float, color: Vec, facing: Vec) -> Lamp:
        """A glowing rectangle in the x-z plane of a frame, centered on its origin."""
        places = [
            frame.point((column - 1.5) / 4.0 * width, 0.0, (row - 1.5) / 4.0 * height)
            for row in range(4)
            for column in range(4)
        ]
        return Lamp(np.array(places, np.float32), color, facing)


@dataclass(frozen=True)
class Opening:
    """A window pane through which the sun can shine.

    Attributes:
        frame: Center of the pane; x to the right, y out of the room, z up.
        half: Half width and half height of the glass.
        bar: Half width of the bars that cross at the center.

    Example:
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.lights import Opening
        >>> Opening(Frame((0.0, 2.0, 1.5)), (0.6, 0.5), 0.02).half
        (0.6, 0.5)
    """

    frame: Frame
    half: tuple[float, float]
    bar: float


@dataclass(frozen=True)
class Sun:
    """Parallel light through the windows.

    Attributes:
        direction: Unit vector to the sun.
        places: float32 ``(SAMPLES, 3)``, directions to sample points on the sun's disc.
        color: Irradiance on a surface that faces the sun, linear RGB.
        openings: The windows.

    Example:
        >>> from taskprism.rooms.lights import Sun
        >>> Sun.shining((0.0, 0.0, 1.0), (3.0, 2.9, 2.5), openings=()).places.shape
        (16, 3)
    """

    direction: Vec
    places: np.ndarray
    color: Vec
    openings: tuple[Opening, ...]

    @staticmethod
    def shining(direction: Vec, color: Vec, openings: tuple[Opening, ...]) -> Sun:
        """Sun in a direction, with a disc somewhat larger than the real one."""
        places = np.array(direction) + 0.012 * ball_samples()
        return Sun(direction, places.astype(np.float32), color, openings)


def light_color(dice: Dice, strength: float) -> Vec:
    """White light between warm and cool.

    Args:
        dice: For the color temperature.
        strength: Value of the green channel.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.lights import light_color
        >>> light_color(Dice(0), strength=2.0)[1]
        2.0
    """
    warm = dice.uniform(-0.35, 0.8)  # < 0: bluish
    red, blue = (
        (1.0 + 0.25 * warm, 1.0 - 0.45 * warm)
        if warm > 0.0
        else (1.0 + 0.3 * warm, 1.0 - 0.3 * warm)
    )
    return (strength * red, strength, strength * blue)
