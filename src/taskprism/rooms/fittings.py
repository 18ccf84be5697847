"""What hangs on walls: windows, doors, pictures, skirting boards."""

from __future__ import annotations

from taskprism.rooms import palette
from taskprism.rooms.builder import Builder
from taskprism.rooms.classes import Thing
from taskprism.rooms.dice import Dice
from taskprism.rooms.frames import Frame
from taskprism.rooms.lights import Opening
from taskprism.rooms.materials import scaled


def window(
    builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice, brightness: float
) -> Opening:
    """A window around a place on a wall (frame: x right, y out of the room, z up).

    Args:
        builder: Takes the solids.
        middle: Center of the window on the wall.
        size: Width and height.
        dice: For materials and bars.
        brightness: Light of the sky, relative to a well exposed white.
    """
    builder.piece(Thing.WINDOW, casts_shadow=False)
    wooden = builder.material(palette.furniture(dice) if dice.chance(0.4) else palette.metal(dice))
    glass = builder.material(palette.outdoors(dice, brightness))
    w, h = size
    rim = dice.uniform(0.04, 0.08)
    builder.box(middle, (0.0, 0.0, 0.0), (w, 0.02, h), glass)
    surround(builder, middle, (w, h), (rim, 0.03), wooden)
    bar = dice.uniform(0.012, 0.025)
    if dice.chance(0.7):
        builder.box(middle, (0.0, 0.0, 0.0), (2.0 * bar, 0.03, h), wooden)
    if dice.chance(0.5):
        builder.box(middle, (0.0, 0.0, 0.0), (w, 0.03, 2.0 * bar), wooden)
    sill = (w + 0.2, 0.28, 0.035)
    builder.box(middle, (0.0, 0.0, -h / 2.0 - rim - 0.0175), sill, wooden)
    if dice.chance(0.5):
        _curtains(builder, middle, size, dice)
    return Opening(middle, (w / 2.0, h / 2.0), bar)


def _curtains(builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice) -> None:
    cloth = builder.material(palette.cloth(dice))
    rod = builder.material(palette.metal(dice))
    w, h = size
    wide = dice.uniform(0.2, 0.34)
    drop = dice.uniform(0.15, 0.5)
    top = h / 2.0 + 0.1
    bar = middle.moved(-w / 2.0 - wide, -0.1, top).turned("y", 1.5707963267948966)
    builder.frustum(bar, (0.0, 0.0, 0.0), (0.015, 0.015), w + 2.0 * wide, rod)
    folds = 4
    for side in (-1.0, 1.0):
        for k in range(folds):
            x = side * (w / 2.0 + wide * ((k + 0.5) / folds - 0.25))
            radius = wide / folds * 0.56
            foot = (x, -0.1, -h / 2.0 - drop)
            builder.frustum(middle, foot, (radius, radius), h + drop + 0.1, cloth, flatness=0.7)


def door(builder: Builder, base: Frame, size: tuple[float, float], dice: Dice) -> None:
    """A closed door standing on a place at the foot of a wall."""
    builder.piece(Thing.DOOR, casts_shadow=False)
    base_material = palette.furniture(dice)
    leaf = builder.material(palette.panelled(dice, base_material, float(dice.integer(1, 4))))
    trim = builder.material(base_material)
    knob = builder.material(palette.metal(dice))
    w, h = size
    middle = base.moved(0.0, 0.0, h / 2.0)
    builder.box(middle, (0.0, 0.0, 0.0), (w, 0.02, h), leaf)
    for side in (-1.0, 1.0):
        builder.box(middle, (side * (w / 2.0 + 0.04), 0.0, 0.04), (0.08, 0.03, h + 0.08), trim)
    builder.box(middle, (0.0, 0.0, h / 2.0 + 0.04), (w, 0.03, 0.08), trim)
    side = dice.sign()
    builder.ellipsoid(base, (side * (w / 2.0 - 0.07), -0.04, 1.0), (0.03, 0.03, 0.03), knob)
    lever = (side * (w / 2.0 - 0.11), -0.055, 1.0)
    builder.box(base, lever, (0.11, 0.02, 0.02), knob)


def picture(builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice) -> None:
    """A framed picture around a place on a wall."""
    builder.piece(Thing.PICTURE, casts_shadow=False)
    canvas = builder.material(palette.painting(dice))
    rim = builder.material(palette.wood(dice) if dice.chance(0.5) else palette.metal(dice))
    w, h = size
    width = dice.uniform(0.015, 0.05)
    builder.box(middle, (0.0, 0.0, 0.0), (w, 0.03, h), canvas)
    surround(builder, middle, size, (width, 0.02), rim)


def surround(
    builder: Builder,
    middle: Frame,
    size: tuple[float, float],
    profile: tuple[float, float],
    material: int,
) -> None:
    """Four bars around a rectangle, ``profile`` wide and standing out from the wall."""
    (w, h), (wide, out) = size, profile
    for side in (-1.0, 1.0):
        place = (0.0, 0.0, side * (h + wide) / 2.0)
        builder.box(middle, place, (w + 2.0 * wide, 2.0 * out, wide), material)
        builder.box(middle, (side * (w + wide) / 2.0, 0.0, 0.0), (wide, 2.0 * out, h), material)


def skirting(
    builder: Builder, base: Frame, length: float, gaps: list[tuple[float, float]], material: int
) -> None:
    """A board along the foot of a wall, left out at the doors."""
    start = -length / 2.0
    for low, high in [*sorted(gaps), (length / 2.0, length / 2.0)]:
        if low > start:
            middle = (start + low) / 2.0
            builder.box(
                base, (middle, 0.0, 0.045), (low - start, 0.006, 0.09), material, casts_shadow=False
            )
        start = high


def board_material(builder: Builder, dice: Dice) -> int:
    """Material of the skirting boards."""
    white = palette.Material(colors=(scaled((0.8, 0.8, 0.8), dice.uniform(0.7, 1.1)),) * 3)
    return builder.material(white if dice.chance(0.6) else palette.wood(dice))
