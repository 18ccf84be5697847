"""How a reader turns a task's colors back into values; drawn under the tiles of a panel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Swatches:
    """One color per class.

    Attributes:
        entries: Color (uint8 RGB) and class name, in class order.
    """

    entries: tuple[tuple[Rgb, str], ...]


@dataclass(frozen=True, eq=False)
class ColorScale:
    """Colors from the lowest to the highest value.

    Attributes:
        colors: ``(N, 3)`` uint8 RGB, from ``low`` to ``high``.
        low: Value of the first color, in ``unit``.
        high: Value of the last color, in ``unit``.
        unit: Such as ``"m"``; empty for plain numbers.
    """

    colors: np.ndarray
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True, eq=False)
class DirectionBall:
    """A ball colored by its own normals, seen from the camera.

    Attributes:
        picture: ``(N, N, 3)`` uint8 RGB.
        inside: ``(N, N)`` boolean: the ball, the rest is background.
        axes: Names of the directions to the right, up and toward the viewer.
    """

    picture: np.ndarray
    inside: np.ndarray
    axes: tuple[str, str, str] = ("x", "y", "z")


Legend = Swatches | ColorScale | DirectionBall
