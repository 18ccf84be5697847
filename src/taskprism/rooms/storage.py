"""Cabinets and shelves, with what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from taskprism.rooms import palette
from taskprism.rooms.builder import Builder
from taskprism.rooms.classes import Thing
from taskprism.rooms.clutter import books, small_thing
from taskprism.rooms.dice import Dice
from taskprism.rooms.frames import Frame
from taskprism.rooms.pieces import Piece


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
