"""Materials and their procedural textures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from taskprism.rooms.arithmetic import (
    Vec,
    fractal_noise,
    fraction,
    hash_unit,
    linear_from_srgb,
    smoothstep,
    value_noise,
)


class Pattern(IntEnum):
    """How the colors of a material are laid out.

    Example:
        >>> from taskprism.rooms.materials import Pattern
        >>> Pattern.WAVES.name
        'WAVES'
    """

    PLAIN = 0
    CLOUDS = 1
    STRIPES = 2
    CHECKER = 3
    COURSES = 4  # rows of rectangles with joints: tiles, bricks and floor boards
    DOTS = 5
    WAVES = 6  # bands bent by noise: wood and marble
    PATCHES = 7  # rectangles of random color, as in an abstract painting
    LANDSCAPE = 8  # sky, hills and ground
    PANELS = 9  # grooves around the panels of doors and drawers


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Colors, pattern and gloss of a surface.

    Attributes:
        colors: Three linear RGB reflectances; the pattern mixes neighboring ones.
        pattern: Layout of the colors.
        period: Size of the pattern: meters, or number of panels for ``PANELS``.
        ratio: Length of a pattern cell in units of ``period``; above 1 for boards and bricks.
        swap: Turn the pattern by a right angle.
        grain: Strength of the noise on brightness, 0 to 1.
        grain_size: Extent of that noise in meters along the two surface coordinates.
        gloss: Strength of the highlight.
        emission: Emitted light, relative to the white of a well exposed image.
        seed: Seed of the noise.

    Example:
        >>> from taskprism.rooms.materials import Material, Pattern, color
        >>> red, white = color(0.0, 0.9, 0.8), color(0.0, 0.0, 0.9)
        >>> Material(colors=(red, white, red), pattern=Pattern.STRIPES, period=0.2).gloss
        0.0
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
    """The materials of a scene as arrays with one column per material.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.materials import MaterialTable
        >>> from taskprism.rooms.palette import floor, wall
        >>> dice = Dice(0)
        >>> MaterialTable.pack([wall(dice), floor(dice)]).colors.shape
        (3, 3, 2)
    """

    colors: np.ndarray  # (3, 3, M): number of the color, RGB, material
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
    """Linear RGB of an HSV color, all in [0, 1]; the hue is cyclic.

    Example:
        >>> from taskprism.rooms.materials import color
        >>> [round(value, 3) for value in color(hue=0.0, saturation=1.0, value=1.0)]
        [1.0, 0.0, 0.0]
    """
    six = (hue % 1.0) * 6.0
    ramps = (abs(six - 3.0) - 1.0, 2.0 - abs(six - 2.0), 2.0 - abs(six - 4.0))
    r, g, b = (value * (1.0 - saturation + saturation * min(max(x, 0.0), 1.0)) for x in ramps)
    return (linear_from_srgb(r), linear_from_srgb(g), linear_from_srgb(b))


def scaled(a: Vec, factor: float) -> Vec:
    """Color multiplied by a factor, with values of at most 1.

    Example:
        >>> from taskprism.rooms.materials import scaled
        >>> scaled((0.25, 0.5, 0.75), 2.0)
        (0.5, 1.0, 1.0)
    """
    return (min(a[0] * factor, 1.0), min(a[1] * factor, 1.0), min(a[2] * factor, 1.0))


@dataclass(frozen=True)
class Spots:
    """Points in the coordinates of their surfaces, each array float32 ``(N,)``.

    Attributes:
        u: Along the surface, meters.
        v: Along the surface, meters; upward on walls.
        w: Off the surface, meters (constant on a box's face).
        across: ``u`` in units of the face's half size, in [-1, 1].
        up: ``v`` likewise.
        footprint: Extent of a pixel on the surface, meters.
        material: Number of the material, int16.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.materials import Spots
        >>> zero = np.zeros(3, np.float32)
        >>> spots = Spots(zero, zero, zero, zero, zero, zero + 0.01, np.zeros(3, np.int16))
        >>> spots.of(np.array([0, 2])).u.shape
        (2,)
    """

    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    across: np.ndarray
    up: np.ndarray
    footprint: np.ndarray
    material: np.ndarray

    def of(self, index: np.ndarray) -> Spots:
        """The spots of some indices."""
        return Spots(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Cell:
    """Coordinates in units of the pattern's period, and other inputs of a pattern."""

    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    ratio: np.ndarray
    seed: np.ndarray
    period: np.ndarray
    pixel: np.ndarray  # footprint of a pixel in periods
    spots: Spots


def albedo(table: MaterialTable, spots: Spots) -> np.ndarray:
    """Linear RGB reflectance in [0, 1], float32 ``(3, N)``.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.materials import Material, MaterialTable, Spots, albedo
        >>> table = MaterialTable.pack([Material(colors=((0.5, 0.25, 0.0),) * 3)])
        >>> zero = np.zeros(1, np.float32)
        >>> spot = Spots(zero, zero, zero, zero, zero, zero + 0.01, np.zeros(1, np.int16))
        >>> albedo(table, spot)[:, 0].tolist()
        [0.5, 0.25, 0.0]
    """
    weight = np.zeros(spots.u.shape, np.float32)
    kinds = table.pattern[spots.material]
    for kind, pattern in _PATTERNS.items():
        index = np.flatnonzero(kinds == kind)
        if index.size:
            weight[index] = _faded_pattern(pattern, table, spots.of(index))
    first, second, third = (table.colors[k][:, spots.material] for k in range(3))
    low, high = np.minimum(weight, 1.0), np.maximum(weight - 1.0, 0.0)
    mixed = first + (second - first) * low
    mixed += (third - mixed) * high
    mixed *= _grain(table, spots)
    return np.clip(mixed, 0.0, 1.0, out=mixed)


def _grain(table: MaterialTable, spots: Spots) -> np.ndarray:
    """Factor on brightness; noise finer than a pixel fades to its mean."""
    m = spots.material
    grain = table.grain[m]
    factor = np.ones_like(grain)
    index = np.flatnonzero(grain > 0.0)
    s, m = spots.of(index), m[index]
    frequency_u, frequency_v = table.grain_frequency[0, m], table.grain_frequency[1, m]
    noise = fractal_noise(
        s.u * frequency_u, s.v * frequency_v, s.w * frequency_u, table.seed[m]
    ) - np.float32(0.5)
    sharp = _fade(s.footprint * np.maximum(frequency_u, frequency_v) * 0.5)
    factor[index] += 2.0 * grain[index] * noise * sharp
    return factor


def _fade(pixels_per_period: np.ndarray) -> np.ndarray:
    """1 where a period spans several pixels, 0 where it spans less than about one."""
    return smoothstep(1.6 - 1.6 * pixels_per_period)


def _faded_pattern(
    pattern: Callable[[_Cell], np.ndarray], table: MaterialTable, spots: Spots
) -> np.ndarray:
    m = spots.material
    period, swap = table.period[m], table.swap[m]
    u = np.where(swap, spots.v, spots.u) / period
    v = np.where(swap, spots.u, spots.v) / period
    pixel = spots.footprint / period
    cell = _Cell(u, v, spots.w / period, table.ratio[m], table.seed[m], period, pixel, spots)
    weight = pattern(cell)
    if pattern in _SIZELESS:
        return weight
    return 0.5 + (weight - 0.5) * _fade(pixel)


def _clouds(c: _Cell) -> np.ndarray:
    return smoothstep(fractal_noise(c.u, c.v, c.w, c.seed) * 2.0 - 0.5)


def _square_wave(x: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """0 and 1 in alternation, one unit of ``x`` each, averaged over a pixel."""
    ramp = np.abs(fraction(x * 0.5) - 0.5) * 2.0 - 0.5
    return np.clip(0.5 - ramp / np.maximum(pixel, 1e-4), 0.0, 1.0)


def _stripes(c: _Cell) -> np.ndarray:
    return _square_wave(c.u, c.pixel)


def _checker(c: _Cell) -> np.ndarray:
    a, b = _square_wave(c.u, c.pixel), _square_wave(c.v, c.pixel)
    return a + b - 2.0 * a * b


def _courses(c: _Cell) -> np.ndarray:
    row = np.floor(c.v)
    zero = np.zeros_like(row)
    shift = np.where(c.ratio > 1.0, hash_unit(row, zero, zero, c.seed), 0.0)
    along = c.u / c.ratio + shift
    tone = hash_unit(row, np.floor(along), zero + 1.0, c.seed)
    joint = np.minimum(np.float32(0.003) / c.period + 0.01, 0.1)  # half a joint's width
    side = np.minimum(fraction(c.v), 1.0 - fraction(c.v))
    end = np.minimum(fraction(along), 1.0 - fraction(along)) * c.ratio
    drawn = np.maximum(joint, 0.5 * c.pixel)  # a joint finer than a pixel becomes wider and fainter
    strength = np.where(np.minimum(side, end) < drawn, joint / drawn, 0.0)
    return tone + (2.0 - tone) * strength


def _dots(c: _Cell) -> np.ndarray:
    du, dv = fraction(c.u) - 0.5, fraction(c.v) - 0.5
    return (du * du + dv * dv < 0.09).astype(np.float32)


def _waves(c: _Cell) -> np.ndarray:
    bend = value_noise(c.u / c.ratio, c.v * 0.5, c.w * 0.5, c.seed)
    phase = fraction(c.v * 0.5 + 2.0 * bend)
    return smoothstep(np.abs(phase * 2.0 - 1.0))


def _patches(c: _Cell) -> np.ndarray:
    row = np.floor(c.v)
    zero = np.zeros_like(row)
    column = np.floor(c.u * (0.5 + hash_unit(row, zero, zero, c.seed)))
    return np.floor(hash_unit(column, row, zero + 1.0, c.seed) * 3.0)


def _landscape(c: _Cell) -> np.ndarray:
    zero = np.zeros_like(c.u)
    across, up = c.spots.across * 1.5, c.spots.up
    ridge = fractal_noise(across * 2.0, zero, zero, c.seed) * 0.9 - 0.65
    clouds = fractal_noise(across, up * 4.0, zero + 7.0, c.seed)
    ground = 1.6 + 0.4 * value_noise(across * 8.0, up * 8.0, zero, c.seed)
    return np.where(up < ridge, ground, smoothstep(clouds * 2.0 - 0.6))


def _panels(c: _Cell) -> np.ndarray:
    """Weight 1 in the groove around each panel, 2 inside it."""
    count = c.period
    half_width = np.abs(c.spots.u) / np.maximum(np.abs(c.spots.across), 1e-3)
    half_height = np.abs(c.spots.v) / np.maximum(np.abs(c.spots.up), 1e-3)
    cell_height = half_height * 2.0 / count
    inset = fraction((c.spots.up + 1.0) * 0.5 * count)
    side = half_width - np.abs(c.spots.u)
    margin = np.minimum(np.minimum(inset, 1.0 - inset) * cell_height, side)
    groove = (margin > 0.03) & (margin < 0.05)
    return np.where(
        groove, np.float32(1.0), np.where(margin >= 0.05, np.float32(2.0), np.float32(0.0))
    )


_PATTERNS: dict[Pattern, Callable[[_Cell], np.ndarray]] = {
    Pattern.CLOUDS: _clouds,
    Pattern.STRIPES: _stripes,
    Pattern.CHECKER: _checker,
    Pattern.COURSES: _courses,
    Pattern.DOTS: _dots,
    Pattern.WAVES: _waves,
    Pattern.PATCHES: _patches,
    Pattern.LANDSCAPE: _landscape,
    Pattern.PANELS: _panels,
}

_SIZELESS = (_landscape, _panels)  # their scale is the size of the face, not a period in meters
