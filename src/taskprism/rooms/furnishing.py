"""Furniture: the pieces, what lies on them, lamps and mannequins, and where a room puts them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice, radians
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Part, Thing
from taskprism.rooms.lights import Lamp, light_color
from taskprism.rooms.materials import Material, Pattern, color, scaled, seed_of
from taskprism.rooms.plan import Footprint, Plan, Wall


@dataclass(frozen=True)
class Piece(ABC):
    """A piece of furniture that stands on its frame's origin, its front toward -y.

    Attributes:
        width: Extent along x, meters.
        depth: Extent along y, meters.
        height: Extent along z, meters.
    """

    width: float
    depth: float
    height: float

    @classmethod
    @abstractmethod
    def random(cls, dice: Dice) -> Self:
        """A piece of random size and style."""

    @abstractmethod
    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add the solids; materials and details are drawn from the dice."""


@dataclass(frozen=True)
class Chair(Piece):
    """A chair with four legs, on a column, or without a back (a stool)."""

    seat_height: float
    style: str

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        width = dice.uniform(0.4, 0.5)
        style = dice.choice(("legs", "legs", "legs", "column", "stool"))
        seat = dice.uniform(0.43, 0.48)
        height = seat if style == "stool" else dice.uniform(0.82, 1.05)
        return cls(width, width * dice.uniform(0.95, 1.1), height, seat, style)

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`."""
        builder.piece(Thing.CHAIR)
        frame_material = builder.material(
            palette.metal(dice) if self.style == "column" else palette.furniture(dice)
        )
        cushion = dice.chance(0.5) or self.style == "column"
        seat = builder.material(palette.cloth(dice)) if cushion else frame_material
        w, d, s = self.width, self.depth, self.seat_height
        thick = 0.07 if cushion else 0.035
        if self.style == "stool" and dice.chance(0.6):
            builder.frustum(frame, (0.0, 0.0, s - thick), (w / 2.2, w / 2.0), thick, seat)
        else:
            builder.box(frame, (0.0, 0.0, s - thick / 2.0), (w, d, thick), seat)
        if self.style == "column":
            builder.frustum(frame, (0.0, 0.0, 0.0), (w * 0.5, w * 0.35), 0.05, frame_material)
            builder.frustum(frame, (0.0, 0.0, 0.05), (0.03, 0.03), s - thick - 0.05, frame_material)
        else:
            legs(builder, frame, (w, d, s - thick), frame_material, dice)
        if self.style != "stool":
            self._back(builder, frame, frame_material, seat, dice)

    def _back(
        self, builder: Builder, frame: Frame, frame_material: int, seat: int, dice: Dice
    ) -> None:
        w, s, top = self.width, self.seat_height, self.height
        back = frame.moved(0.0, self.depth / 2.0 - 0.02, s).turned("x", -dice.uniform(0.0, 0.18))
        rise = top - s
        if self.style == "column" or dice.chance(0.45):
            builder.box(back, (0.0, 0.0, rise * 0.6), (w * 0.95, 0.04, rise * 0.8), seat)
            builder.box(back, (0.0, 0.015, rise * 0.3), (0.06, 0.03, rise * 0.6), frame_material)
            return
        for side in (-1.0, 1.0):
            builder.box(
                back,
                (side * (w / 2.0 - 0.02), 0.0, rise / 2.0),
                (0.035, 0.035, rise),
                frame_material,
            )
        slats = dice.integer(1, 3)
        for k in range(slats):
            z = rise * (0.95 - 0.25 * k) - 0.04
            builder.box(
                back, (0.0, 0.0, z), (w - 0.06, 0.022, 0.4 * rise / (slats + 1)), frame_material
            )


@dataclass(frozen=True)
class Table(Piece):
    """A rectangular or round table."""

    round: bool
    thickness: float

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        if dice.chance(0.3):
            across = dice.uniform(0.7, 1.25)
            return cls(across, across, dice.uniform(0.68, 0.78), True, dice.uniform(0.025, 0.05))
        width = dice.uniform(0.9, 1.8)
        return cls(
            width,
            dice.uniform(0.6, min(width, 0.95)),
            dice.uniform(0.68, 0.78),
            False,
            dice.uniform(0.025, 0.06),
        )

    @classmethod
    def low(cls, dice: Dice) -> Self:
        """A coffee table."""
        width = dice.uniform(0.6, 1.1)
        is_round = dice.chance(0.4)
        depth = width if is_round else dice.uniform(0.45, 0.65)
        return cls(width, depth, dice.uniform(0.35, 0.46), is_round, dice.uniform(0.025, 0.05))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`."""
        builder.piece(Thing.TABLE)
        top = builder.material(palette.furniture(dice))
        under = top if dice.chance(0.6) else builder.material(palette.metal(dice))
        w, d, t = self.width, self.depth, self.thickness
        below = self.height - t
        if self.round:
            builder.frustum(frame, (0.0, 0.0, below), (w / 2.0, w / 2.0), t, top)
            builder.frustum(frame, (0.0, 0.0, 0.0), (w * 0.28, w * 0.2), 0.04, under)
            builder.frustum(frame, (0.0, 0.0, 0.04), (0.05, 0.04), below - 0.04, under)
            return
        builder.box(frame, (0.0, 0.0, below + t / 2.0), (w, d, t), top)
        if dice.chance(0.2):
            for side in (-1.0, 1.0):
                place = (side * (w / 2.0 - 0.06), 0.0, below / 2.0)
                builder.box(frame, place, (0.04, d * 0.9, below), under)
            return
        if dice.chance(0.5):
            builder.box(frame, (0.0, 0.0, below - 0.045), (w * 0.9, d * 0.86, 0.09), under)
        legs(builder, frame, (w * 0.95, d * 0.93, below), under, dice)


@dataclass(frozen=True)
class Sofa(Piece):
    """A sofa or an armchair."""

    seats: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        seats = dice.integer(1, 3)
        width = 0.35 + seats * dice.uniform(0.58, 0.7)
        return cls(width, dice.uniform(0.8, 0.95), dice.uniform(0.75, 0.92), seats)

    @property
    def seat_height(self) -> float:
        """Height of the cushions."""
        return 0.44

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`."""
        builder.piece(Thing.SOFA)
        cover = builder.material(palette.cloth(dice))
        cushion = cover if dice.chance(0.6) else builder.material(palette.cloth(dice))
        foot = builder.material(palette.furniture(dice))
        w, d, h = self.width, self.depth, self.height
        arm = 0.15
        inner = w - 2.0 * arm
        builder.box(frame, (0.0, 0.0, 0.2), (w - 0.02, d - 0.04, 0.2), cover)
        builder.box(frame, (0.0, d / 2.0 - 0.1, (h + 0.1) / 2.0), (w, 0.2, h - 0.1), cover)
        rounded = dice.chance(0.4)
        rest = dice.uniform(0.55, 0.65)
        for side in (-1.0, 1.0):
            x = side * (w - arm) / 2.0
            builder.box(frame, (x, -0.02, (rest + 0.08) / 2.0), (arm, d - 0.04, rest - 0.08), cover)
            if rounded:
                roll = frame.moved(x, -d / 2.0 + 0.02, rest).turned("x", -1.5707963267948966)
                builder.frustum(roll, (0.0, 0.0, 0.0), (arm * 0.58, arm * 0.58), d - 0.08, cover)
        each = inner / self.seats
        for k in range(self.seats):
            x = -inner / 2.0 + (k + 0.5) * each
            builder.box(frame, (x, -0.1, 0.37), (each - 0.015, d - 0.24, 0.14), cushion)
            back = frame.moved(x, d / 2.0 - 0.25, 0.43).turned("x", -0.15)
            builder.box(back, (0.0, 0.0, 0.17), (each - 0.02, 0.13, 0.36), cushion)
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                place = (x * (w / 2.0 - 0.08), y * (d / 2.0 - 0.08), 0.0)
                builder.frustum(frame, place, (0.02, 0.03), 0.1, foot)
        if dice.chance(0.6):
            pillow = builder.material(palette.cloth(dice))
            side = frame.moved(dice.sign() * (inner / 2.0 - 0.2), d / 2.0 - 0.36, 0.6)
            side = side.turned("x", -0.35).turned("y", dice.bell(0.2))
            builder.ellipsoid(side, (0.0, 0.0, 0.0), (0.22, 0.07, 0.19), pillow)


def legs(
    builder: Builder, frame: Frame, size: tuple[float, float, float], material: int, dice: Dice
) -> None:
    """Four legs at the corners of a width and depth, up to a height."""
    w, d, h = size
    thick = dice.uniform(0.025, 0.06)
    round_legs = dice.chance(0.45)
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            place = (x * (w - thick) / 2.0, y * (d - thick) / 2.0)
            if round_legs:
                radii = (thick * 0.35, thick * 0.55)
                builder.frustum(frame, (*place, 0.0), radii, h, material)
            else:
                builder.box(frame, (*place, h / 2.0), (thick, thick, h), material)


@dataclass(frozen=True)
class FloorLamp(Piece):
    """A shade on a pole."""

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        across = dice.uniform(0.32, 0.48)
        return cls(across, across, dice.uniform(1.35, 1.75))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`; the lamp is off. Use :meth:`light` for its light."""
        self.light(builder, frame, dice, 0.0)

    def light(self, builder: Builder, frame: Frame, dice: Dice, strength: float) -> Lamp | None:
        """Build the lamp, and give its light if the strength is not 0."""
        builder.piece(Thing.LAMP)
        pole = builder.material(palette.metal(dice))
        radius, h = self.width / 2.0, self.height
        builder.frustum(frame, (0.0, 0.0, 0.0), (radius * 0.75, radius * 0.7), 0.03, pole)
        builder.frustum(frame, (0.0, 0.0, 0.03), (0.014, 0.014), h - 0.2, pole, casts_shadow=False)
        tall = dice.uniform(0.22, 0.35)
        return shade(builder, frame.moved(0.0, 0.0, h - tall), (radius, tall), dice, strength)


def table_lamp(builder: Builder, frame: Frame, dice: Dice, strength: float) -> Lamp | None:
    """A small lamp on a table top."""
    builder.thing(Thing.LAMP)
    foot = builder.material(palette.plastic(dice))
    stem = dice.uniform(0.18, 0.3)
    belly = dice.uniform(0.05, 0.09)
    builder.frustum(frame, (0.0, 0.0, 0.0), (belly * 0.8, belly * 0.7), 0.02, foot)
    builder.ellipsoid(frame, (0.0, 0.0, stem * 0.45), (belly, belly, stem * 0.45), foot)
    builder.frustum(frame, (0.0, 0.0, stem * 0.5), (0.012, 0.012), stem * 0.6, foot)
    size = (dice.uniform(0.11, 0.17), dice.uniform(0.14, 0.2))
    return shade(builder, frame.moved(0.0, 0.0, stem), size, dice, strength)


def pendant(builder: Builder, ceiling: Frame, dice: Dice, strength: float) -> Lamp | None:
    """A lamp hanging from a place on the ceiling."""
    builder.piece(Thing.LAMP)
    cord = builder.material(palette.metal(dice))
    drop = dice.uniform(0.35, 0.7)
    builder.frustum(ceiling, (0.0, 0.0, -drop), (0.008, 0.008), drop, cord, casts_shadow=False)
    builder.frustum(ceiling, (0.0, 0.0, -0.03), (0.06, 0.05), 0.03, cord, casts_shadow=False)
    radius = dice.uniform(0.14, 0.28)
    if dice.chance(0.4):
        bulb = builder.material(_glow(dice, strength))
        center = (0.0, 0.0, -drop - radius)
        builder.ellipsoid(
            ceiling, center, (radius, radius, radius * 0.85), bulb, casts_shadow=False
        )
        return _light(ceiling.point(*center), radius, dice, strength)
    tall = dice.uniform(0.16, 0.28)
    return shade(builder, ceiling.moved(0.0, 0.0, -drop - tall), (radius, tall), dice, strength)


def ceiling_panel(builder: Builder, ceiling: Frame, dice: Dice, strength: float) -> Lamp:
    """A luminous panel under the ceiling."""
    builder.piece(Thing.LAMP, casts_shadow=False)
    rim = builder.material(palette.metal(dice))
    pane = builder.material(_glow(dice, max(strength, 1e-3)))
    w, d = dice.uniform(0.4, 1.2), dice.uniform(0.25, 0.6)
    builder.box(ceiling, (0.0, 0.0, -0.025), (w + 0.06, d + 0.06, 0.05), rim)
    builder.box(ceiling, (0.0, 0.0, -0.035), (w, d, 0.05), pane)
    flat = Frame(ceiling.point(0.0, 0.0, -0.07), ceiling.x, ceiling.z, ceiling.y)
    return Lamp.panel(flat, w, d, light_color(dice, strength * 1.7), (0.0, 0.0, -1.0))


def shade(
    builder: Builder, frame: Frame, size: tuple[float, float], dice: Dice, strength: float
) -> Lamp | None:
    """A lamp shade of a radius and height, open to its light."""
    radius, tall = size
    cloth = builder.material(_glow(dice, strength))
    radii = (radius, radius * dice.uniform(0.45, 1.0))
    builder.frustum(frame, (0.0, 0.0, 0.0), radii, tall, cloth, casts_shadow=False)
    return _light(frame.point(0.0, 0.0, tall / 2.0), radius * 0.6, dice, strength)


def _glow(dice: Dice, strength: float) -> palette.Material:
    tone = palette.pale_color(dice)
    return palette.glow(tone, dice.uniform(0.9, 2.0) if strength > 0.0 else 0.0)


def _light(
    place: tuple[float, float, float], radius: float, dice: Dice, strength: float
) -> Lamp | None:
    size = radius * dice.choice((0.15, 1.0, 1.0))  # a bare bulb gives hard shadows
    return Lamp.ball(place, size, light_color(dice, strength)) if strength > 0.0 else None


def small_thing(builder: Builder, frame: Frame, radius: float, height: float, dice: Dice) -> None:
    """One small thing that fits into an upright cylinder standing on the frame's origin."""
    kind = dice.choice(("ball", "box", "box", "vase", "vase", "cup", "books"))
    turned = frame.turned("z", dice.uniform(0.0, 2.0 * PI))
    if kind == "ball":
        ball(builder, turned, min(radius, height / 2.0, dice.uniform(0.05, 0.13)), dice)
    elif kind == "box":
        side = min(radius * 1.3, dice.uniform(0.1, 0.32))
        size = (side, side * dice.uniform(0.5, 1.0), min(height, dice.uniform(0.05, 0.3)))
        box(builder, turned, size, dice)
    elif kind == "vase":
        vase(builder, turned, min(radius, 0.11), min(height, dice.uniform(0.15, 0.38)), dice)
    elif kind == "cup":
        cup(builder, turned, min(radius, dice.uniform(0.04, 0.07)), min(height, 0.13), dice)
    else:
        pile(builder, turned, min(radius * 1.5, 0.28), height, dice)


def ball(builder: Builder, frame: Frame, radius: float, dice: Dice) -> None:
    """A ball."""
    builder.thing(Thing.OBJECT)
    tilted = frame.moved(0.0, 0.0, radius).turned("x", dice.uniform(0.0, PI))
    material = builder.material(palette.plastic(dice))
    builder.ellipsoid(tilted, (0.0, 0.0, 0.0), (radius, radius, radius), material)


def box(builder: Builder, frame: Frame, size: tuple[float, float, float], dice: Dice) -> None:
    """A closed box."""
    builder.thing(Thing.BOX)
    cardboard = color(0.09, dice.uniform(0.3, 0.5), dice.uniform(0.5, 0.75))
    material = (
        Material(colors=(cardboard, cardboard, cardboard), grain=0.1, seed=seed_of(dice))
        if dice.chance(0.4)
        else palette.plastic(dice)
    )
    builder.box(frame, (0.0, 0.0, size[2] / 2.0), size, builder.material(material))


def vase(builder: Builder, frame: Frame, radius: float, height: float, dice: Dice) -> None:
    """A vase of two cut cones and a neck."""
    builder.thing(Thing.OBJECT)
    material = builder.material(palette.plastic(dice))
    belly = dice.uniform(0.35, 0.6) * height
    foot, neck = radius * dice.uniform(0.4, 0.8), radius * dice.uniform(0.25, 0.6)
    top = height - belly
    builder.frustum(frame, (0.0, 0.0, 0.0), (foot, radius), belly, material)
    builder.frustum(frame, (0.0, 0.0, belly), (radius, neck), top * 0.7, material)
    flare = neck * dice.uniform(1.0, 1.5)
    builder.frustum(frame, (0.0, 0.0, belly + top * 0.7), (neck, flare), top * 0.3, material)


def cup(builder: Builder, frame: Frame, radius: float, height: float, dice: Dice) -> None:
    """A cup, a bowl or a tin."""
    builder.thing(Thing.OBJECT)
    material = builder.material(palette.plastic(dice))
    rim = radius
    foot = rim * dice.uniform(0.6, 1.0)
    builder.frustum(frame, (0.0, 0.0, 0.0), (foot, rim), height * dice.uniform(0.5, 1.0), material)


def pile(builder: Builder, frame: Frame, side: float, height: float, dice: Dice) -> None:
    """Books lying on one another."""
    z = 0.0
    for _ in range(dice.integer(2, 4)):
        thick = dice.uniform(0.02, 0.05)
        if z + thick > height:
            break
        size = (side * dice.uniform(0.8, 1.0), side * dice.uniform(0.55, 0.72), thick)
        builder.thing(Thing.BOX)
        material = builder.material(palette.paint(dice))
        builder.box(
            frame.moved(0.0, 0.0, z).turned("z", dice.bell(0.15)),
            (0.0, 0.0, thick / 2.0),
            size,
            material,
        )
        z += thick


def books(builder: Builder, frame: Frame, room: tuple[float, float, float], dice: Dice) -> None:
    """Upright books along x from the frame's origin, which is in the middle of their depth."""
    length, depth, height = room
    shades = [palette.paint(dice) for _ in range(4)]
    numbers = [builder.material(shade) for shade in shades]
    x = 0.0
    while True:
        thick = dice.uniform(0.025, 0.07)
        if x + thick > length:
            return
        tall = height * dice.uniform(0.6, 0.92)
        deep = depth * dice.uniform(0.7, 0.95)
        builder.thing(Thing.BOX, casts_shadow=False)
        place = (x + thick / 2.0, (depth - deep) / 2.0 - 0.01, tall / 2.0)
        builder.box(frame, place, (thick - 0.003, deep, tall), dice.choice(numbers))
        x += thick


def plant(builder: Builder, frame: Frame, height: float, dice: Dice) -> None:
    """A pot with leaves."""
    builder.piece(Thing.OBJECT)
    pot = builder.material(palette.plastic(dice))
    tall, radius = height * dice.uniform(0.2, 0.35), height * dice.uniform(0.14, 0.2)
    builder.frustum(frame, (0.0, 0.0, 0.0), (radius * 0.7, radius), tall, pot)
    green = color(dice.uniform(0.2, 0.36), dice.uniform(0.4, 0.8), dice.uniform(0.25, 0.6))
    leaf = builder.material(
        Material(
            colors=(green, scaled(green, 0.5), green),
            pattern=Pattern.CLOUDS,
            period=0.08,
            gloss=0.15,
            seed=seed_of(dice),
        )
    )
    stem = builder.material(palette.wood(dice))
    rise = height - tall
    builder.frustum(frame, (0.0, 0.0, tall * 0.9), (0.02, 0.012), rise * 0.75, stem)
    for _ in range(dice.integer(7, 11)):
        blade = frame.moved(0.0, 0.0, tall + rise * dice.uniform(0.05, 0.7))
        blade = blade.turned("z", dice.uniform(0.0, 2.0 * PI)).turned("x", -dice.uniform(0.4, 1.3))
        reach = rise * dice.uniform(0.18, 0.26)
        builder.ellipsoid(blade, (0.0, 0.0, reach), (reach * 0.38, reach * 0.12, reach), leaf)


@dataclass(frozen=True)
class Cabinet(Piece):
    """A closed cabinet: a wardrobe, a sideboard or a chest of drawers."""

    columns: int
    rows: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        if dice.chance(0.45):
            size = (dice.uniform(0.8, 1.5), dice.uniform(0.5, 0.62), dice.uniform(1.7, 2.1))
            return cls(*size, 2, dice.integer(1, 2))
        size = (dice.uniform(0.6, 1.6), dice.uniform(0.38, 0.5), dice.uniform(0.5, 1.0))
        return cls(*size, dice.integer(1, 3), dice.integer(1, 4))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`."""
        builder.piece(Thing.CABINET)
        base = palette.furniture(dice)
        body = builder.material(base)
        front = builder.material(palette.panelled(dice, base, float(self.rows)))
        knob = builder.material(palette.metal(dice))
        w, d, h = self.width, self.depth, self.height
        plinth = 0.08
        builder.box(frame, (0.0, 0.02, plinth / 2.0), (w - 0.06, d - 0.08, plinth), body)
        builder.box(frame, (0.0, 0.0, (h + plinth) / 2.0), (w, d - 0.02, h - plinth), body)
        each = w / self.columns
        tall = h - plinth
        for column in range(self.columns):
            x = -w / 2.0 + (column + 0.5) * each
            place = (x, -d / 2.0 + 0.01, plinth + tall / 2.0)
            builder.box(frame, place, (each - 0.016, 0.004, tall - 0.016), front)
            for row in range(self.rows):
                z = plinth + (row + 0.5) * tall / self.rows
                off = (each / 2.0 - 0.08) * (1.0 if column % 2 == 0 else -1.0)
                builder.ellipsoid(
                    frame,
                    (x + off, -d / 2.0 - 0.005, z),
                    (0.015, 0.015, 0.03),
                    knob,
                    casts_shadow=False,
                )
        if h < 1.3:
            _on_top(builder, frame.moved(0.0, 0.0, h), w, d, dice)


@dataclass(frozen=True)
class Shelf(Piece):
    """An open shelf with books and things."""

    boards: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """See :class:`Piece`."""
        height = dice.uniform(0.8, 2.1)
        boards = max(2, round(height / 0.38))
        return cls(dice.uniform(0.6, 1.3), dice.uniform(0.26, 0.38), height, boards)

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """See :class:`Piece`."""
        builder.piece(Thing.CABINET)
        body = builder.material(palette.furniture(dice))
        w, d, h = self.width, self.depth, self.height
        t = 0.03
        for side in (-1.0, 1.0):
            builder.box(frame, (side * (w - t) / 2.0, 0.0, h / 2.0), (t, d, h), body)
        builder.box(frame, (0.0, d / 2.0 - 0.01, h / 2.0), (w - 2.0 * t, 0.02, h), body)
        pitch = (h - 0.08) / self.boards
        for k in range(self.boards + 1):
            z = 0.06 + k * pitch
            builder.box(frame, (0.0, -0.01, z), (w - 2.0 * t, d - 0.02, t), body)
        inner = w - 2.0 * t - 0.04
        for k in range(self.boards):
            level = frame.moved(-inner / 2.0, -0.02, 0.06 + k * pitch + t / 2.0)
            _fill(builder, level, (inner, d - 0.06, pitch - t), dice)
        if h < 1.4:
            _on_top(builder, frame.moved(0.0, 0.0, h + t), w, d, dice)


def _fill(builder: Builder, level: Frame, room: tuple[float, float, float], dice: Dice) -> None:
    """Put books or things on a board; ``level`` is the middle of its left end."""
    width, depth, height = room
    kind = dice.uniform()
    if kind < 0.15:
        return
    if kind < 0.75:
        length = width * dice.uniform(0.35, 1.0)
        start = 0.0 if dice.chance(0.6) else width - length
        books(builder, level.moved(start, 0.0, 0.0), (length, depth, height), dice)
        return
    for k in range(2):
        place = level.moved(width * (0.3 + 0.4 * k), 0.0, 0.0)
        small_thing(builder, place, min(depth, width * 0.3) * 0.45, height * 0.85, dice)


def _on_top(builder: Builder, top: Frame, width: float, depth: float, dice: Dice) -> None:
    for k in range(2):
        if dice.chance(0.5):
            place = top.moved(width * (0.25 - 0.5 * k), 0.0, 0.0)
            small_thing(builder, place, min(depth * 0.4, width * 0.2), 0.4, dice)


SIDES = (-1.0, 1.0)

# Lengths in units of the body's height.
THIGH, SHIN, ANKLE = 0.245, 0.235, 0.04
HIP, SHOULDER, TRUNK = 0.055, 0.108, 0.285
UPPER_ARM, FOREARM = 0.17, 0.15


@dataclass(frozen=True)
class Clothes:
    """Numbers of the materials on each part of the body."""

    skin: int
    hair: int
    shirt: int
    sleeve: int
    trousers: int
    shin: int
    shoes: int

    @staticmethod
    def random(builder: Builder, dice: Dice) -> Clothes:
        """An outfit."""
        skin = builder.material(palette.skin(dice))
        shirt = builder.material(palette.cloth(dice))
        trousers = builder.material(palette.cloth(dice))
        bare = dice.chance(0.12)  # an undressed shop mannequin
        return Clothes(
            skin=skin,
            hair=skin if bare else builder.material(palette.wood(dice, gloss=0.1)),
            shirt=skin if bare else shirt,
            sleeve=shirt if dice.chance(0.45) and not bare else skin,
            trousers=skin if bare else trousers,
            shin=trousers if dice.chance(0.7) and not bare else skin,
            shoes=skin if bare else builder.material(palette.paint(dice, gloss=0.2)),
        )


@dataclass(frozen=True)
class _Leg:
    """Frames of the joints; the limbs hang along -z, bodies face -y."""

    hip: Frame
    knee: Frame
    ankle: Frame


def stand(builder: Builder, frame: Frame, height: float, dice: Dice) -> None:
    """A mannequin that stands or walks on the frame's origin."""
    swing = dice.choice((0.0, 0.05, dice.uniform(0.2, 0.5)))
    forward = dice.sign()
    legs: dict[float, tuple[float, float, float]] = {}
    for side in SIDES:
        thigh = side * forward * swing + dice.bell(0.04)
        knee = dice.uniform(0.02, 0.12) + (dice.uniform(0.1, 0.7) if thigh < -0.1 else 0.0)
        legs[side] = (thigh, knee, dice.uniform(0.0, 0.12))

    def joints(pelvis: Frame) -> list[_Leg]:
        return [_leg(pelvis, height, side, *legs[side]) for side in SIDES]

    lowest = min(leg.ankle.origin[2] for leg in joints(frame)) - ANKLE * height
    pelvis = frame.moved(0.0, 0.0, frame.origin[2] - lowest)
    _body(builder, pelvis, joints(pelvis), height, dice, seated=False)


def sit(builder: Builder, seat: Frame, height: float, dice: Dice) -> None:
    """A mannequin that sits on the frame's origin, its feet on the floor if they reach it."""
    pelvis = seat.moved(0.0, 0.0, 0.055 * height)
    # short legs let the thighs slope down, long ones put the feet forward
    short = pelvis.origin[2] - (SHIN + ANKLE) * height
    slope = min(max(short / (THIGH * height), 0.0), 0.3)
    level = math.sqrt(1.0 - slope * slope)
    knee_height = pelvis.origin[2] - slope * THIGH * height
    drop = min(max((knee_height - ANKLE * height) / (SHIN * height), 0.5), 1.0)
    reach = math.sqrt(max(1.0 - drop * drop, 0.0))
    legs = []
    for side in SIDES:
        spread = dice.uniform(0.02, 0.22)
        hip = pelvis.moved(side * HIP * height, 0.0, 0.0).turned("z", side * spread)
        thigh = hip.rotated("x", slope, -level)
        knee = thigh.moved(0.0, 0.0, -THIGH * height).rotated("x", slope, level)
        shin = knee.rotated("x", drop, -reach)
        ankle = shin.moved(0.0, 0.0, -SHIN * height).rotated("x", drop, reach)
        legs.append(_Leg(thigh, shin, ankle))
    _body(builder, pelvis, legs, height, dice, seated=True)


def _leg(
    pelvis: Frame, height: float, side: float, thigh: float, knee: float, apart: float
) -> _Leg:
    hip = pelvis.moved(side * HIP * height, 0.0, 0.0).turned("y", -side * apart)
    hip = hip.turned("x", -thigh)
    bent = hip.moved(0.0, 0.0, -THIGH * height).turned("x", knee)
    foot = bent.moved(0.0, 0.0, -SHIN * height).turned("x", (thigh - knee) * 0.8)
    return _Leg(hip, bent, foot)


def _body(
    builder: Builder, pelvis: Frame, legs: list[_Leg], height: float, dice: Dice, *, seated: bool
) -> None:
    builder.piece(Thing.PERSON)
    clothes = Clothes.random(builder, dice)
    h = height
    wide = dice.uniform(0.9, 1.15)
    lean = dice.uniform(-0.12, 0.02) if seated else dice.bell(0.06)
    trunk = pelvis.turned("x", -lean).turned("z", dice.bell(0.12))
    hips = (0.092 * h * wide, 0.066 * h * wide, 0.062 * h)
    builder.ellipsoid(pelvis, (0.0, 0.0, 0.015 * h), hips, clothes.trousers, Part.TORSO)
    radii = (0.08 * h * wide, 0.102 * h * wide)
    builder.frustum(
        trunk, (0.0, 0.0, 0.02 * h), radii, 0.2 * h, clothes.shirt, Part.TORSO, flatness=0.64
    )
    chest = (0.112 * h * wide, 0.068 * h * wide, 0.075 * h)
    builder.ellipsoid(trunk, (0.0, 0.0, 0.225 * h), chest, clothes.shirt, Part.TORSO)
    for leg in legs:
        _dress_leg(builder, leg, h, wide, clothes)
    for side in SIDES:
        shoulder = trunk.moved(side * SHOULDER * h * wide, 0.0, 0.25 * h)
        _arm(builder, shoulder, side, h, clothes, dice, seated=seated)
    _head(builder, trunk.moved(0.0, 0.0, TRUNK * h), h, clothes, dice)


def _dress_leg(builder: Builder, leg: _Leg, h: float, wide: float, clothes: Clothes) -> None:
    thigh, knee, ankle = 0.056 * h * wide, 0.036 * h, 0.025 * h
    _limb(builder, leg.hip, THIGH * h, (thigh, knee), clothes.trousers, Part.UPPER_LEG)
    _limb(builder, leg.knee, SHIN * h, (knee * 1.04, ankle), clothes.shin, Part.LOWER_LEG)
    foot = (0.03 * h, 0.076 * h, 0.03 * h)
    middle = (0.0, -0.04 * h, -ANKLE * h + 0.03 * h)
    builder.ellipsoid(leg.ankle, middle, foot, clothes.shoes, Part.LOWER_LEG)


def _arm(
    builder: Builder,
    shoulder: Frame,
    side: float,
    h: float,
    clothes: Clothes,
    dice: Dice,
    *,
    seated: bool,
) -> None:
    forward, aside, bend = radians(dice.uniform(-25.0, 35.0)), dice.uniform(0.08, 0.35), 0.0
    if seated:
        forward, bend = radians(dice.uniform(10.0, 35.0)), radians(dice.uniform(65.0, 95.0))
    else:
        bend = radians(dice.choice((dice.uniform(5.0, 30.0), dice.uniform(30.0, 110.0))))
        if dice.chance(0.25):
            forward = radians(dice.uniform(60.0, 165.0))
        elif dice.chance(0.2):
            aside = radians(dice.uniform(50.0, 140.0))
    upper = shoulder.turned("y", -side * aside).turned("x", -forward)
    elbow = upper.moved(0.0, 0.0, -UPPER_ARM * h).turned("x", -bend)
    radii = (0.033 * h, 0.026 * h)
    _limb(builder, upper, UPPER_ARM * h, radii, clothes.shirt, Part.UPPER_ARM)
    lower = (0.026 * h, 0.018 * h)
    _limb(builder, elbow, FOREARM * h, lower, clothes.sleeve, Part.LOWER_ARM)
    hand = (0.014 * h, 0.025 * h, 0.05 * h)
    palm = (0.0, 0.0, -(FOREARM + 0.04) * h)
    builder.ellipsoid(elbow, palm, hand, clothes.skin, Part.LOWER_ARM)


def _head(builder: Builder, neck: Frame, h: float, clothes: Clothes, dice: Dice) -> None:
    turned = neck.turned("z", dice.bell(0.35)).turned("x", dice.bell(0.12))
    builder.frustum(
        neck, (0.0, 0.0, -0.03 * h), (0.032 * h, 0.029 * h), 0.07 * h, clothes.skin, Part.HEAD
    )
    face = (0.046 * h, 0.054 * h, 0.066 * h)
    builder.ellipsoid(turned, (0.0, -0.005 * h, 0.09 * h), face, clothes.skin, Part.HEAD)
    builder.ellipsoid(
        turned,
        (0.0, -0.061 * h, 0.083 * h),
        (0.008 * h, 0.01 * h, 0.014 * h),
        clothes.skin,
        Part.HEAD,
    )
    if clothes.hair != clothes.skin:
        hair = (0.051 * h, 0.055 * h, 0.06 * h)
        builder.ellipsoid(turned, (0.0, 0.012 * h, 0.107 * h), hair, clothes.hair, Part.HEAD)


def _limb(
    builder: Builder,
    joint: Frame,
    length: float,
    radii: tuple[float, float],
    material: int,
    part: Part,
) -> None:
    """A cut cone hanging from a joint, rounded at both ends."""
    first, last = radii
    builder.frustum(joint, (0.0, 0.0, -length), (last, first), length, material, part)
    builder.ellipsoid(joint, (0.0, 0.0, 0.0), (first, first, first), material, part)
    builder.ellipsoid(joint, (0.0, 0.0, -length), (last, last, last), material, part)


_TRIES = 10


class Furnisher:
    """Places furniture, mannequins and clutter; ``lamps`` are those that are on."""

    def __init__(self, builder: Builder, plan: Plan, dice: Dice) -> None:
        self._builder, self._plan, self._dice = builder, plan, dice
        self.lamps: list[Lamp] = []
        self._people = dice.choice((0, 0, 1, 1, 1, 2))

    def furnish(self) -> None:
        """Fill the room."""
        dice = self._dice
        area = self._plan.width * self._plan.depth
        if dice.chance(0.65):
            self._dining()
        else:
            self._lounge()
        kinds: list[type[Piece]] = [Sofa, Cabinet, Shelf, Cabinet, Shelf, Table, FloorLamp, Chair]
        for kind in dice.shuffled(kinds)[: dice.integer(2, 3 + int(area / 8.0))]:
            self._against_wall(kind.random(dice))
        if dice.chance(0.4):
            self._plant()
        for _ in range(self._people):
            self._standing_person()
        for _ in range(dice.integer(0, 4)):
            self._on_floor()

    def _dining(self) -> None:
        """A table with chairs around it, now and then with somebody sitting there."""
        dice, builder = self._dice, self._builder
        table = Table.random(dice)
        around = Footprint(0.0, 0.0, table.width / 2.0 + 0.3, table.depth / 2.0 + 0.3, 1.0, 0.0)
        frame = self._free_place(2.0 * around.half_width, 2.0 * around.half_depth, 0.1, turned=0.3)
        if frame is None:
            return
        if dice.chance(0.3):
            self._rug(frame, table.width + 0.9, table.depth + 0.9)
        table.build(builder, frame, dice)
        self._laid(frame, table)
        chair = Chair.random(dice)
        look = dice.raw()
        quarters = dice.shuffled((0, 1, 2, 3))[: dice.integer(1, 4)]
        for quarter in quarters:
            side = frame.turned("z", quarter * PI / 2.0)
            edge = (table.depth if quarter % 2 == 0 else table.width) / 2.0
            occupied = self._people > 0 and dice.chance(0.35)
            tuck = 0.0 if occupied else dice.uniform(-0.15, 0.18)
            place = side.moved(dice.bell(0.05), -edge - chair.depth / 2.0 + tuck, 0.0)
            place = place.turned("z", PI + dice.bell(0.12))
            footprint = Footprint.of(place, chair.width, chair.depth)
            if not self._plan.fits(footprint, 0.02):
                continue
            chair.build(builder, place, Dice(look))
            self._plan.footprints.append(footprint)
            if occupied:
                self._people -= 1
                sit(builder, place.moved(0.0, -0.02, chair.seat_height), self._stature(), dice)
        self._plan.footprints.append(Footprint.of(frame, table.width, table.depth))

    def _lounge(self) -> None:
        """A low table on a rug."""
        dice = self._dice
        table = Table.low(dice)
        frame = self._free_place(table.width, table.depth, 0.4, turned=0.3)
        if frame is None:
            return
        if dice.chance(0.7):
            self._rug(frame, table.width + 1.1, table.depth + 1.0)
        table.build(self._builder, frame, dice)
        self._laid(frame, table)
        self._plan.footprints.append(Footprint.of(frame, table.width, table.depth))

    def _rug(self, frame: Frame, width: float, depth: float) -> None:
        if not self._plan.holds(Footprint.of(frame, width, depth)):
            return
        self._builder.surface(Thing.FLOOR)
        material = self._builder.material(palette.rug(self._dice))
        size = (width, depth, 0.002)  # too thin for its side to show as a broken line
        self._builder.box(frame, (0.0, 0.0, 0.001), size, material, casts_shadow=False)

    def _laid(self, frame: Frame, table: Table) -> None:
        """Put things on a table."""
        dice = self._dice
        top = frame.moved(0.0, 0.0, table.height)
        cells = [(x, y) for x in (-0.3, 0.0, 0.3) for y in (-0.22, 0.22)]
        if table.round:
            cells = [(x * 0.75, y) for x, y in cells if x]
        radius = min(table.width * 0.14, table.depth * 0.2)
        for x, y in dice.shuffled(cells)[: dice.integer(0, 4)]:
            place = top.moved(x * table.width, y * table.depth, 0.0)
            if dice.chance(0.15):
                self._switch_on(table_lamp(self._builder, place, dice, self._glow(0.5, 1.2)))
            else:
                small_thing(self._builder, place, radius, 0.4, dice)

    def _against_wall(self, piece: Piece) -> None:
        """Stand a piece with its back to a wall; shelves and cabinets never hide a window."""
        dice = self._dice
        for _ in range(_TRIES):
            wall = dice.choice(self._plan.walls)
            space = wall.length - piece.width - 0.1
            if space <= 0.0:
                continue
            x = dice.uniform(-0.5, 0.5) * space
            frame = wall.frame.moved(x, -piece.depth / 2.0 - dice.uniform(0.02, 0.06), 0.0)
            left, right = x - piece.width / 2.0, x + piece.width / 2.0
            footprint = Footprint.of(frame, piece.width, piece.depth)
            if wall.free(left, right, 0.0, piece.height) and self._plan.fits(footprint, 0.04):
                self._stand(piece, frame, wall, (left, right, 0.0, piece.height + 0.1))
                self._plan.footprints.append(footprint)
                return

    def _stand(
        self, piece: Piece, frame: Frame, wall: Wall, taken: tuple[float, float, float, float]
    ) -> None:
        dice, builder = self._dice, self._builder
        wall.taken.append(taken)
        if isinstance(piece, FloorLamp):
            self._switch_on(piece.light(builder, frame, dice, self._glow(0.8, 2.2)))
            return
        piece.build(builder, frame, dice)
        if isinstance(piece, Table):
            self._laid(frame, piece)
            chair = Chair.random(dice)
            place = frame.moved(0.0, -piece.depth / 2.0 - dice.uniform(0.05, 0.35), 0.0)
            place = place.turned("z", PI + dice.bell(0.3))
            footprint = Footprint.of(place, chair.width, chair.depth)
            if self._plan.fits(footprint, 0.02):
                chair.build(builder, place, dice)
                self._plan.footprints.append(footprint)
        elif isinstance(piece, Sofa) and self._people > 0 and dice.chance(0.4):
            self._people -= 1
            x = (dice.integer(1, piece.seats) - 0.5 - piece.seats / 2.0) * 0.6
            sit(builder, frame.moved(x, -0.08, piece.seat_height), self._stature(), dice)

    def _plant(self) -> None:
        dice = self._dice
        height = dice.uniform(0.5, 1.5)
        across = height * 0.55
        frame = self._free_place(across, across, 0.03)
        if frame is not None:
            plant(self._builder, frame, height, dice)
            self._plan.footprints.append(Footprint.of(frame, across, across))

    def _standing_person(self) -> None:
        frame = self._free_place(0.65, 0.85, 0.05, turned=PI)
        if frame is not None:
            stand(self._builder, frame, self._stature(), self._dice)
            self._plan.footprints.append(Footprint.of(frame, 0.65, 0.85))

    def _on_floor(self) -> None:
        """A ball, a box or books on the floor."""
        dice = self._dice
        side = dice.uniform(0.18, 0.5)
        frame = self._free_place(side, side, 0.05, turned=PI)
        if frame is None:
            return
        self._builder.piece(Thing.OBJECT)
        kind = dice.uniform()
        if kind < 0.45:
            ball(self._builder, frame, side / 2.0, dice)
        elif kind < 0.85:
            size = (side, side * dice.uniform(0.6, 1.0), side * dice.uniform(0.4, 1.1))
            box(self._builder, frame, size, dice)
        else:
            pile(self._builder, frame, 0.3, 0.3, dice)
        self._plan.footprints.append(Footprint.of(frame, side, side))

    def _free_place(
        self, width: float, depth: float, gap: float, turned: float = 0.0
    ) -> Frame | None:
        """A place on the floor for a footprint, turned by up to an angle from the walls."""
        dice, plan = self._dice, self._plan
        for _ in range(_TRIES):
            x = dice.uniform(-0.5, 0.5) * (plan.width - width)
            y = dice.uniform(-0.5, 0.5) * (plan.depth - depth)
            angle = dice.integer(0, 3) * PI / 2.0 + dice.uniform(-turned, turned)
            frame = Frame((x, y, 0.0)).turned("z", angle)
            if plan.fits(Footprint.of(frame, width, depth), gap):
                return frame
        return None

    def _stature(self) -> float:
        return self._dice.uniform(1.6, 1.9)

    def _glow(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high) if self._dice.chance(0.6) else 0.0

    def _switch_on(self, lamp: Lamp | None) -> None:
        if lamp is not None:
            self.lamps.append(lamp)
