"""Small things that lie on furniture or on the floor: balls, boxes, vases, books and plants.

>>> from taskprism.rooms.arithmetic import Dice
>>> from taskprism.rooms.builder import Builder
>>> from taskprism.rooms.camera import Frame
>>> from taskprism.rooms.clutter import add_ball, add_plant
>>> builder, dice = Builder(), Dice(0)
>>> add_ball(builder, Frame(), 0.1, dice)
>>> add_plant(builder, Frame((1.0, 0.0, 0.0)), 0.8, dice)
>>> [thing.name for thing in builder.things[3:]]
['OBJECT', 'OBJECT']
"""

from __future__ import annotations

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Thing
from taskprism.rooms.materials import Material, Pattern, color, scaled


def add_small_object(
    builder: Builder, frame: Frame, radius: float, height: float, dice: Dice
) -> None:
    """Add a small object that fits into an upright cylinder on the frame's origin; meters."""
    kind = dice.choice(("ball", "box", "box", "vase", "vase", "cup", "books"))
    turned = frame.turned("z", dice.uniform(0.0, 2.0 * PI))
    if kind == "ball":
        add_ball(builder, turned, min(radius, height / 2.0, dice.uniform(0.05, 0.13)), dice)
    elif kind == "box":
        side = min(radius * 1.3, dice.uniform(0.1, 0.32))
        size = (side, side * dice.uniform(0.5, 1.0), min(height, dice.uniform(0.05, 0.3)))
        add_box(builder, turned, size, dice)
    elif kind == "vase":
        _add_vase(builder, turned, min(radius, 0.11), min(height, dice.uniform(0.15, 0.38)), dice)
    elif kind == "cup":
        _add_cup(builder, turned, min(radius, dice.uniform(0.04, 0.07)), min(height, 0.13), dice)
    else:
        add_book_pile(builder, turned, min(radius * 1.5, 0.28), height, dice)


def add_ball(builder: Builder, frame: Frame, radius: float, dice: Dice) -> None:
    """Add a ball."""
    builder.begin_thing(Thing.OBJECT)
    tilted = frame.moved(0.0, 0.0, radius).turned("x", dice.uniform(0.0, PI))
    material = builder.add_material(palette.plastic(dice))
    builder.add_ellipsoid(tilted, (0.0, 0.0, 0.0), (radius, radius, radius), material)


def add_box(builder: Builder, frame: Frame, size: tuple[float, float, float], dice: Dice) -> None:
    """Add a closed box of a width, depth and height."""
    builder.begin_thing(Thing.BOX)
    cardboard = color(0.09, dice.uniform(0.3, 0.5), dice.uniform(0.5, 0.75))
    material = (
        Material(colors=(cardboard, cardboard, cardboard), grain=0.1, seed=dice.seed())
        if dice.chance(0.4)
        else palette.plastic(dice)
    )
    builder.add_box(frame, (0.0, 0.0, size[2] / 2.0), size, builder.add_material(material))


def _add_vase(builder: Builder, frame: Frame, radius: float, height: float, dice: Dice) -> None:
    """Add a vase of two cut cones and a neck."""
    builder.begin_thing(Thing.OBJECT)
    material = builder.add_material(palette.plastic(dice))
    belly = dice.uniform(0.35, 0.6) * height
    foot, neck = radius * dice.uniform(0.4, 0.8), radius * dice.uniform(0.25, 0.6)
    top = height - belly
    builder.add_frustum(frame, (0.0, 0.0, 0.0), (foot, radius), belly, material)
    builder.add_frustum(frame, (0.0, 0.0, belly), (radius, neck), top * 0.7, material)
    flare = neck * dice.uniform(1.0, 1.5)
    builder.add_frustum(frame, (0.0, 0.0, belly + top * 0.7), (neck, flare), top * 0.3, material)


def _add_cup(builder: Builder, frame: Frame, radius: float, height: float, dice: Dice) -> None:
    """Add a cup, a bowl or a tin."""
    builder.begin_thing(Thing.OBJECT)
    material = builder.add_material(palette.plastic(dice))
    rim = radius
    foot = rim * dice.uniform(0.6, 1.0)
    builder.add_frustum(
        frame, (0.0, 0.0, 0.0), (foot, rim), height * dice.uniform(0.5, 1.0), material
    )


def add_book_pile(builder: Builder, frame: Frame, side: float, height: float, dice: Dice) -> None:
    """Add a pile of books, up to a height."""
    z = 0.0
    for _ in range(dice.integer(2, 4)):
        thick = dice.uniform(0.02, 0.05)
        if z + thick > height:
            break
        size = (side * dice.uniform(0.8, 1.0), side * dice.uniform(0.55, 0.72), thick)
        builder.begin_thing(Thing.BOX)
        material = builder.add_material(palette.paint(dice))
        builder.add_box(
            frame.moved(0.0, 0.0, z).turned("z", dice.bell(0.15)),
            (0.0, 0.0, thick / 2.0),
            size,
            material,
        )
        z += thick


def add_book_row(
    builder: Builder, frame: Frame, room: tuple[float, float, float], dice: Dice
) -> None:
    """Add upright books along x from the frame's origin, which is in the middle of their depth.

    Args:
        builder: Takes the solids.
        frame: Left end of the row.
        room: Length, depth and height of the space for the books, meters.
        dice: For sizes and colors.
    """
    length, depth, height = room
    shades = [palette.paint(dice) for _ in range(4)]
    numbers = [builder.add_material(shade) for shade in shades]
    x = 0.0
    while True:
        thick = dice.uniform(0.025, 0.07)
        if x + thick > length:
            return
        tall = height * dice.uniform(0.6, 0.92)
        deep = depth * dice.uniform(0.7, 0.95)
        builder.begin_thing(Thing.BOX, casts_shadow=False)
        place = (x + thick / 2.0, (depth - deep) / 2.0 - 0.01, tall / 2.0)
        builder.add_box(frame, place, (thick - 0.003, deep, tall), dice.choice(numbers))
        x += thick


def add_plant(builder: Builder, frame: Frame, height: float, dice: Dice) -> None:
    """Add a plant in a pot, ``height`` meters tall."""
    builder.begin_piece(Thing.OBJECT)
    pot = builder.add_material(palette.plastic(dice))
    tall, radius = height * dice.uniform(0.2, 0.35), height * dice.uniform(0.14, 0.2)
    builder.add_frustum(frame, (0.0, 0.0, 0.0), (radius * 0.7, radius), tall, pot)
    green = color(dice.uniform(0.2, 0.36), dice.uniform(0.4, 0.8), dice.uniform(0.25, 0.6))
    leaf = builder.add_material(
        Material(
            colors=(green, scaled(green, 0.5), green),
            pattern=Pattern.CLOUDS,
            period=0.08,
            gloss=0.15,
            seed=dice.seed(),
        )
    )
    stem = builder.add_material(palette.wood(dice))
    rise = height - tall
    builder.add_frustum(frame, (0.0, 0.0, tall * 0.9), (0.02, 0.012), rise * 0.75, stem)
    for _ in range(dice.integer(7, 11)):
        blade = frame.moved(0.0, 0.0, tall + rise * dice.uniform(0.05, 0.7))
        blade = blade.turned("z", dice.uniform(0.0, 2.0 * PI)).turned("x", -dice.uniform(0.4, 1.3))
        reach = rise * dice.uniform(0.18, 0.26)
        builder.add_ellipsoid(blade, (0.0, 0.0, reach), (reach * 0.38, reach * 0.12, reach), leaf)
