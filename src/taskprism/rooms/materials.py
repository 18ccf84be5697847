"""Materials: colors, a pattern and how it shines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from taskprism.rooms.arithmetic import Vec, linear_from_srgb
from taskprism.rooms.dice import Dice


class Pattern(IntEnum):
    """How the colors of a material are laid out (see :mod:`.textures`)."""

    PLAIN = 0
    CLOUDS = 1
    STRIPES = 2
    CHECKER = 3
    COURSES = 4  # tiles, bricks and floor boards: rows of rectangles with joints
    DOTS = 5
    WAVES = 6  # wood and marble: bands bent by noise
    PATCHES = 7  # rectangles of random color, as in an abstract painting
    LANDSCAPE = 8  # sky, hills and ground
    PANELS = 9  # grooves around the panels of doors and drawers


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a surface is made of.

    Attributes:
        colors: Three linear RGB reflectances; the pattern mixes neighboring ones.
        pattern: Layout of the colors.
        period: Size of the pattern: meters, or number of panels for ``PANELS``.
        ratio: Length of a pattern cell in units of ``period``; above 1 for boards and bricks.
        swap: Turn the pattern by a right angle.
        grain: Strength of the noise on brightness, 0 to 1.
        grain_size: Extent of that noise in meters along the two surface coordinates.
        gloss: Strength of the highlight.
        emission: Light given off, relative to the white of a well exposed picture.
        seed: Seed of the noise.
    """

    colors: tuple[Vec, Vec, Vec]
    pattern: Pattern = Pattern.PLAIN
    period: float = 0.1
    ratio: float = 1.0
    swap: bool = False
    grain: float = 0.0
    grain_size: tuple[float, float] = (0.05, 0.05)
    gloss: float = 0.0
    emission: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class MaterialTable:
    """The materials of a scene as arrays with one column per material."""

    colors: np.ndarray  # (3, 3, M): which color, RGB, material
    pattern: np.ndarray  # (M,)
    period: np.ndarray
    ratio: np.ndarray
    swap: np.ndarray
    grain: np.ndarray
    grain_frequency: np.ndarray  # (2, M)
    gloss: np.ndarray
    emission: np.ndarray
    seed: np.ndarray

    @staticmethod
    def pack(materials: list[Material]) -> MaterialTable:
        """Arrays of a list of materials."""

        def column(name: str, dtype: type = np.float32) -> np.ndarray:
            return np.array([getattr(m, name) for m in materials], dtype=dtype)

        sizes = np.array([m.grain_size for m in materials], dtype=np.float64).T
        return MaterialTable(
            colors=np.array([m.colors for m in materials], np.float32).transpose(1, 2, 0).copy(),
            pattern=column("pattern", np.int8),
            period=column("period"),
            ratio=column("ratio"),
            swap=column("swap", np.bool_),
            grain=column("grain"),
            grain_frequency=(1.0 / sizes).astype(np.float32),
            gloss=column("gloss"),
            emission=column("emission"),
            seed=column("seed", np.uint32),
        )


def color(hue: float, saturation: float, value: float) -> Vec:
    """Linear RGB of an HSV color, all in [0, 1]; the hue goes round."""
    six = (hue % 1.0) * 6.0
    ramps = (abs(six - 3.0) - 1.0, 2.0 - abs(six - 2.0), 2.0 - abs(six - 4.0))
    r, g, b = (value * (1.0 - saturation + saturation * min(max(x, 0.0), 1.0)) for x in ramps)
    return (linear_from_srgb(r), linear_from_srgb(g), linear_from_srgb(b))


def scaled(a: Vec, factor: float) -> Vec:
    """Color made darker or lighter, kept in [0, 1]."""
    return (min(a[0] * factor, 1.0), min(a[1] * factor, 1.0), min(a[2] * factor, 1.0))


def seed_of(dice: Dice) -> int:
    """A seed for a material's noise."""
    return dice.raw() & 0xFFFFFFFF
