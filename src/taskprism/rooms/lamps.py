"""Lamps: their shades and the light they give.

>>> from taskprism.rooms.arithmetic import Dice
>>> from taskprism.rooms.builder import Builder
>>> from taskprism.rooms.camera import Frame
>>> from taskprism.rooms.lamps import add_pendant_lamp, add_table_lamp
>>> builder, dice = Builder(), Dice(0)
>>> add_table_lamp(builder, Frame((0.0, 0.0, 0.7)), dice, strength=0.0) is None
True
>>> add_pendant_lamp(builder, Frame((0.0, 0.0, 2.5)), dice, strength=2.0).places.shape
(16, 3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Thing
from taskprism.rooms.furniture import Piece
from taskprism.rooms.lights import Lamp, light_color


@dataclass(frozen=True)
class FloorLamp(Piece):
    """A lamp on a pole.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.lamps import FloorLamp
        >>> dice = Dice(0)
        >>> lamp = FloorLamp.random(dice)
        >>> lamp.light(Builder(), Frame(), dice, strength=0.0) is None
        True
    """

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a random floor lamp."""
        across = dice.uniform(0.32, 0.48)
        return cls(across, across, dice.uniform(1.35, 1.75))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add the lamp, switched off."""
        self.light(builder, frame, dice, 0.0)

    def light(self, builder: Builder, frame: Frame, dice: Dice, strength: float) -> Lamp | None:
        """Add the lamp and return its light; None if the strength is 0."""
        builder.begin_piece(Thing.LAMP)
        pole = builder.add_material(palette.metal(dice))
        radius, h = self.width / 2.0, self.height
        builder.add_frustum(frame, (0.0, 0.0, 0.0), (radius * 0.75, radius * 0.7), 0.03, pole)
        builder.add_frustum(
            frame, (0.0, 0.0, 0.03), (0.014, 0.014), h - 0.2, pole, casts_shadow=False
        )
        tall = dice.uniform(0.22, 0.35)
        return _add_shade(builder, frame.moved(0.0, 0.0, h - tall), (radius, tall), dice, strength)


def add_table_lamp(builder: Builder, frame: Frame, dice: Dice, strength: float) -> Lamp | None:
    """Add a small lamp on a table and return its light; None if the strength is 0."""
    builder.begin_thing(Thing.LAMP)
    foot = builder.add_material(palette.plastic(dice))
    stem = dice.uniform(0.18, 0.3)
    belly = dice.uniform(0.05, 0.09)
    builder.add_frustum(frame, (0.0, 0.0, 0.0), (belly * 0.8, belly * 0.7), 0.02, foot)
    builder.add_ellipsoid(frame, (0.0, 0.0, stem * 0.45), (belly, belly, stem * 0.45), foot)
    builder.add_frustum(frame, (0.0, 0.0, stem * 0.5), (0.012, 0.012), stem * 0.6, foot)
    size = (dice.uniform(0.11, 0.17), dice.uniform(0.14, 0.2))
    return _add_shade(builder, frame.moved(0.0, 0.0, stem), size, dice, strength)


def add_pendant_lamp(builder: Builder, ceiling: Frame, dice: Dice, strength: float) -> Lamp | None:
    """Add a lamp that hangs from the ceiling and return its light; None if the strength is 0."""
    builder.begin_piece(Thing.LAMP)
    cord = builder.add_material(palette.metal(dice))
    drop = dice.uniform(0.35, 0.7)
    builder.add_frustum(ceiling, (0.0, 0.0, -drop), (0.008, 0.008), drop, cord, casts_shadow=False)
    builder.add_frustum(ceiling, (0.0, 0.0, -0.03), (0.06, 0.05), 0.03, cord, casts_shadow=False)
    radius = dice.uniform(0.14, 0.28)
    if dice.chance(0.4):
        bulb = builder.add_material(_glow(dice, strength))
        center = (0.0, 0.0, -drop - radius)
        builder.add_ellipsoid(
            ceiling, center, (radius, radius, radius * 0.85), bulb, casts_shadow=False
        )
        return _light(ceiling.point(*center), radius, dice, strength)
    tall = dice.uniform(0.16, 0.28)
    return _add_shade(
        builder, ceiling.moved(0.0, 0.0, -drop - tall), (radius, tall), dice, strength
    )


def add_ceiling_panel(builder: Builder, ceiling: Frame, dice: Dice, strength: float) -> Lamp:
    """Add a luminous panel under the ceiling and return its light."""
    builder.begin_piece(Thing.LAMP, casts_shadow=False)
    rim = builder.add_material(palette.metal(dice))
    pane = builder.add_material(_glow(dice, max(strength, 1e-3)))
    w, d = dice.uniform(0.4, 1.2), dice.uniform(0.25, 0.6)
    builder.add_box(ceiling, (0.0, 0.0, -0.025), (w + 0.06, d + 0.06, 0.05), rim)
    builder.add_box(ceiling, (0.0, 0.0, -0.035), (w, d, 0.05), pane)
    flat = Frame(ceiling.point(0.0, 0.0, -0.07), ceiling.x, ceiling.z, ceiling.y)
    return Lamp.panel(flat, w, d, light_color(dice, strength * 1.7), (0.0, 0.0, -1.0))


def _add_shade(
    builder: Builder, frame: Frame, size: tuple[float, float], dice: Dice, strength: float
) -> Lamp | None:
    """Add a lamp shade of a radius and height, which does not block its light."""
    radius, tall = size
    cloth = builder.add_material(_glow(dice, strength))
    radii = (radius, radius * dice.uniform(0.45, 1.0))
    builder.add_frustum(frame, (0.0, 0.0, 0.0), radii, tall, cloth, casts_shadow=False)
    return _light(frame.point(0.0, 0.0, tall / 2.0), radius * 0.6, dice, strength)


def _glow(dice: Dice, strength: float) -> palette.Material:
    tone = palette.pale_color(dice)
    return palette.glow(tone, dice.uniform(0.9, 2.0) if strength > 0.0 else 0.0)


def _light(
    place: tuple[float, float, float], radius: float, dice: Dice, strength: float
) -> Lamp | None:
    size = radius * dice.choice((0.15, 1.0, 1.0))  # a bare bulb gives hard shadows
    return Lamp.ball(place, size, light_color(dice, strength)) if strength > 0.0 else None
