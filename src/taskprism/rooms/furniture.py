"""Pieces of furniture: chairs, tables, sofas, cabinets and shelves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Thing
from taskprism.rooms.clutter import add_book_row, add_small_object


@dataclass(frozen=True)
class Piece(ABC):
    """A piece of furniture. It stands on the origin of its frame, its front toward -y.

    Attributes:
        width: Extent along x, meters.
        depth: Extent along y, meters.
        height: Extent along z, meters.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.camera import Frame
        >>> from taskprism.rooms.furniture import Sofa
        >>> builder, dice = Builder(), Dice(0)
        >>> Sofa.random(dice).build(builder, Frame(), dice)
        >>> len(builder.solids) > 5
        True
    """

    width: float
    depth: float
    height: float

    @classmethod
    @abstractmethod
    def random(cls, dice: Dice) -> Self:
        """Return a piece of random size and style."""

    @abstractmethod
    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add the solids to the builder, with random materials and details."""


@dataclass(frozen=True)
class Chair(Piece):
    """A chair with four legs, an office chair on a column, or a stool without a back.

    Attributes:
        seat_height: Top of the seat, meters.
        style: ``"legs"``, ``"column"`` or ``"stool"``.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.furniture import Chair
        >>> 0.4 <= Chair.random(Dice(0)).width <= 0.5
        True
    """

    seat_height: float
    style: str

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a random chair, office chair or stool."""
        width = dice.uniform(0.4, 0.5)
        style = dice.choice(("legs", "legs", "legs", "column", "stool"))
        seat = dice.uniform(0.43, 0.48)
        height = seat if style == "stool" else dice.uniform(0.82, 1.05)
        return cls(width, width * dice.uniform(0.95, 1.1), height, seat, style)

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add a seat, legs or a column, and a back."""
        builder.begin_piece(Thing.CHAIR)
        frame_material = builder.add_material(
            palette.metal(dice) if self.style == "column" else palette.furniture(dice)
        )
        cushion = dice.chance(0.5) or self.style == "column"
        seat = builder.add_material(palette.cloth(dice)) if cushion else frame_material
        w, d, s = self.width, self.depth, self.seat_height
        thick = 0.07 if cushion else 0.035
        if self.style == "stool" and dice.chance(0.6):
            builder.add_frustum(frame, (0.0, 0.0, s - thick), (w / 2.2, w / 2.0), thick, seat)
        else:
            builder.add_box(frame, (0.0, 0.0, s - thick / 2.0), (w, d, thick), seat)
        if self.style == "column":
            builder.add_frustum(frame, (0.0, 0.0, 0.0), (w * 0.5, w * 0.35), 0.05, frame_material)
            builder.add_frustum(
                frame, (0.0, 0.0, 0.05), (0.03, 0.03), s - thick - 0.05, frame_material
            )
        else:
            _add_legs(builder, frame, (w, d, s - thick), frame_material, dice)
        if self.style != "stool":
            self._back(builder, frame, frame_material, seat, dice)

    def _back(
        self, builder: Builder, frame: Frame, frame_material: int, seat: int, dice: Dice
    ) -> None:
        w, s, top = self.width, self.seat_height, self.height
        back = frame.moved(0.0, self.depth / 2.0 - 0.02, s).turned("x", -dice.uniform(0.0, 0.18))
        rise = top - s
        if self.style == "column" or dice.chance(0.45):
            builder.add_box(back, (0.0, 0.0, rise * 0.6), (w * 0.95, 0.04, rise * 0.8), seat)
            builder.add_box(
                back, (0.0, 0.015, rise * 0.3), (0.06, 0.03, rise * 0.6), frame_material
            )
            return
        for side in (-1.0, 1.0):
            builder.add_box(
                back,
                (side * (w / 2.0 - 0.02), 0.0, rise / 2.0),
                (0.035, 0.035, rise),
                frame_material,
            )
        slats = dice.integer(1, 3)
        for k in range(slats):
            z = rise * (0.95 - 0.25 * k) - 0.04
            builder.add_box(
                back, (0.0, 0.0, z), (w - 0.06, 0.022, 0.4 * rise / (slats + 1)), frame_material
            )


@dataclass(frozen=True)
class Table(Piece):
    """A rectangular or round table.

    Attributes:
        round: Whether the top is round.
        thickness: Of the top, meters.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.furniture import Table
        >>> Table.low(Dice(0)).height < Table.random(Dice(0)).height
        True
    """

    round: bool
    thickness: float

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a random dining table."""
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
        """Return a random coffee table."""
        width = dice.uniform(0.6, 1.1)
        is_round = dice.chance(0.4)
        depth = width if is_round else dice.uniform(0.45, 0.65)
        return cls(width, depth, dice.uniform(0.35, 0.46), is_round, dice.uniform(0.025, 0.05))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add a top on legs, on two panels or on a column."""
        builder.begin_piece(Thing.TABLE)
        top = builder.add_material(palette.furniture(dice))
        under = top if dice.chance(0.6) else builder.add_material(palette.metal(dice))
        w, d, t = self.width, self.depth, self.thickness
        below = self.height - t
        if self.round:
            builder.add_frustum(frame, (0.0, 0.0, below), (w / 2.0, w / 2.0), t, top)
            builder.add_frustum(frame, (0.0, 0.0, 0.0), (w * 0.28, w * 0.2), 0.04, under)
            builder.add_frustum(frame, (0.0, 0.0, 0.04), (0.05, 0.04), below - 0.04, under)
            return
        builder.add_box(frame, (0.0, 0.0, below + t / 2.0), (w, d, t), top)
        if dice.chance(0.2):
            for side in (-1.0, 1.0):
                place = (side * (w / 2.0 - 0.06), 0.0, below / 2.0)
                builder.add_box(frame, place, (0.04, d * 0.9, below), under)
            return
        if dice.chance(0.5):
            builder.add_box(frame, (0.0, 0.0, below - 0.045), (w * 0.9, d * 0.86, 0.09), under)
        _add_legs(builder, frame, (w * 0.95, d * 0.93, below), under, dice)


@dataclass(frozen=True)
class Sofa(Piece):
    """A sofa, or an armchair if it has one seat.

    Attributes:
        seats: 1 to 3.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.furniture import Sofa
        >>> Sofa.random(Dice(0)).seats in (1, 2, 3)
        True
    """

    seats: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a sofa of 1 to 3 seats."""
        seats = dice.integer(1, 3)
        width = 0.35 + seats * dice.uniform(0.58, 0.7)
        return cls(width, dice.uniform(0.8, 0.95), dice.uniform(0.75, 0.92), seats)

    @property
    def seat_height(self) -> float:
        """Top of the cushions, meters."""
        return 0.44

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add a base, a back, arms, cushions and feet, and sometimes a pillow."""
        builder.begin_piece(Thing.SOFA)
        cover = builder.add_material(palette.cloth(dice))
        cushion = cover if dice.chance(0.6) else builder.add_material(palette.cloth(dice))
        foot = builder.add_material(palette.furniture(dice))
        w, d, h = self.width, self.depth, self.height
        arm = 0.15
        inner = w - 2.0 * arm
        builder.add_box(frame, (0.0, 0.0, 0.2), (w - 0.02, d - 0.04, 0.2), cover)
        builder.add_box(frame, (0.0, d / 2.0 - 0.1, (h + 0.1) / 2.0), (w, 0.2, h - 0.1), cover)
        rounded = dice.chance(0.4)
        rest = dice.uniform(0.55, 0.65)
        for side in (-1.0, 1.0):
            x = side * (w - arm) / 2.0
            builder.add_box(
                frame, (x, -0.02, (rest + 0.08) / 2.0), (arm, d - 0.04, rest - 0.08), cover
            )
            if rounded:
                roll = frame.moved(x, -d / 2.0 + 0.02, rest).turned("x", -PI / 2.0)
                builder.add_frustum(
                    roll, (0.0, 0.0, 0.0), (arm * 0.58, arm * 0.58), d - 0.08, cover
                )
        each = inner / self.seats
        for k in range(self.seats):
            x = -inner / 2.0 + (k + 0.5) * each
            builder.add_box(frame, (x, -0.1, 0.37), (each - 0.015, d - 0.24, 0.14), cushion)
            back = frame.moved(x, d / 2.0 - 0.25, 0.43).turned("x", -0.15)
            builder.add_box(back, (0.0, 0.0, 0.17), (each - 0.02, 0.13, 0.36), cushion)
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                place = (x * (w / 2.0 - 0.08), y * (d / 2.0 - 0.08), 0.0)
                builder.add_frustum(frame, place, (0.02, 0.03), 0.1, foot)
        if dice.chance(0.6):
            pillow = builder.add_material(palette.cloth(dice))
            side = frame.moved(dice.sign() * (inner / 2.0 - 0.2), d / 2.0 - 0.36, 0.6)
            side = side.turned("x", -0.35).turned("y", dice.bell(0.2))
            builder.add_ellipsoid(side, (0.0, 0.0, 0.0), (0.22, 0.07, 0.19), pillow)


@dataclass(frozen=True)
class Cabinet(Piece):
    """A closed cabinet: a wardrobe, a sideboard or a chest of drawers.

    Attributes:
        columns: Doors or drawers side by side.
        rows: Doors or drawers one above another.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.furniture import Cabinet
        >>> 0.5 <= Cabinet.random(Dice(0)).height <= 2.1
        True
    """

    columns: int
    rows: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a random wardrobe, sideboard or chest of drawers."""
        if dice.chance(0.45):
            size = (dice.uniform(0.8, 1.5), dice.uniform(0.5, 0.62), dice.uniform(1.7, 2.1))
            return cls(*size, 2, dice.integer(1, 2))
        size = (dice.uniform(0.6, 1.6), dice.uniform(0.38, 0.5), dice.uniform(0.5, 1.0))
        return cls(*size, dice.integer(1, 3), dice.integer(1, 4))

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add a body, fronts and knobs, and objects on top of a low cabinet."""
        builder.begin_piece(Thing.CABINET)
        base = palette.furniture(dice)
        body = builder.add_material(base)
        front = builder.add_material(palette.panelled(dice, base, float(self.rows)))
        knob = builder.add_material(palette.metal(dice))
        w, d, h = self.width, self.depth, self.height
        plinth = 0.08
        builder.add_box(frame, (0.0, 0.02, plinth / 2.0), (w - 0.06, d - 0.08, plinth), body)
        builder.add_box(frame, (0.0, 0.0, (h + plinth) / 2.0), (w, d - 0.02, h - plinth), body)
        each = w / self.columns
        tall = h - plinth
        for column in range(self.columns):
            x = -w / 2.0 + (column + 0.5) * each
            place = (x, -d / 2.0 + 0.01, plinth + tall / 2.0)
            builder.add_box(frame, place, (each - 0.016, 0.004, tall - 0.016), front)
            for row in range(self.rows):
                z = plinth + (row + 0.5) * tall / self.rows
                off = (each / 2.0 - 0.08) * (1.0 if column % 2 == 0 else -1.0)
                builder.add_ellipsoid(
                    frame,
                    (x + off, -d / 2.0 - 0.005, z),
                    (0.015, 0.015, 0.03),
                    knob,
                    casts_shadow=False,
                )
        if h < 1.3:
            _add_objects_on_top(builder, frame.moved(0.0, 0.0, h), w, d, dice)


@dataclass(frozen=True)
class Shelf(Piece):
    """An open shelf with books and small objects.

    Attributes:
        boards: Number of levels.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.furniture import Shelf
        >>> Shelf.random(Dice(0)).boards >= 2
        True
    """

    boards: int

    @classmethod
    def random(cls, dice: Dice) -> Self:
        """Return a random shelf of at least two levels."""
        height = dice.uniform(0.8, 2.1)
        boards = max(2, round(height / 0.38))
        return cls(dice.uniform(0.6, 1.3), dice.uniform(0.26, 0.38), height, boards)

    def build(self, builder: Builder, frame: Frame, dice: Dice) -> None:
        """Add boards, fill them, and put objects on top of a low shelf."""
        builder.begin_piece(Thing.CABINET)
        body = builder.add_material(palette.furniture(dice))
        w, d, h = self.width, self.depth, self.height
        t = 0.03
        for side in (-1.0, 1.0):
            builder.add_box(frame, (side * (w - t) / 2.0, 0.0, h / 2.0), (t, d, h), body)
        builder.add_box(frame, (0.0, d / 2.0 - 0.01, h / 2.0), (w - 2.0 * t, 0.02, h), body)
        pitch = (h - 0.08) / self.boards
        for k in range(self.boards + 1):
            z = 0.06 + k * pitch
            builder.add_box(frame, (0.0, -0.01, z), (w - 2.0 * t, d - 0.02, t), body)
        inner = w - 2.0 * t - 0.04
        for k in range(self.boards):
            level = frame.moved(-inner / 2.0, -0.02, 0.06 + k * pitch + t / 2.0)
            _fill_board(builder, level, (inner, d - 0.06, pitch - t), dice)
        if h < 1.4:
            _add_objects_on_top(builder, frame.moved(0.0, 0.0, h + t), w, d, dice)


def _fill_board(
    builder: Builder, level: Frame, room: tuple[float, float, float], dice: Dice
) -> None:
    """Put books or small objects on a board; ``level`` is the middle of its left end."""
    width, depth, height = room
    kind = dice.uniform()
    if kind < 0.15:
        return
    if kind < 0.75:
        length = width * dice.uniform(0.35, 1.0)
        start = 0.0 if dice.chance(0.6) else width - length
        add_book_row(builder, level.moved(start, 0.0, 0.0), (length, depth, height), dice)
        return
    for k in range(2):
        place = level.moved(width * (0.3 + 0.4 * k), 0.0, 0.0)
        add_small_object(builder, place, min(depth, width * 0.3) * 0.45, height * 0.85, dice)


def _add_objects_on_top(
    builder: Builder, top: Frame, width: float, depth: float, dice: Dice
) -> None:
    for k in range(2):
        if dice.chance(0.5):
            place = top.moved(width * (0.25 - 0.5 * k), 0.0, 0.0)
            add_small_object(builder, place, min(depth * 0.4, width * 0.2), 0.4, dice)


def _add_legs(
    builder: Builder, frame: Frame, size: tuple[float, float, float], material: int, dice: Dice
) -> None:
    """Add four legs at the corners of a width and depth, up to a height."""
    w, d, h = size
    thick = dice.uniform(0.025, 0.06)
    round_legs = dice.chance(0.45)
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            place = (x * (w - thick) / 2.0, y * (d - thick) / 2.0)
            if round_legs:
                radii = (thick * 0.35, thick * 0.55)
                builder.add_frustum(frame, (*place, 0.0), radii, h, material)
            else:
                builder.add_box(frame, (*place, h / 2.0), (thick, thick, h), material)
