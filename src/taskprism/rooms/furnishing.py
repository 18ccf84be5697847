"""Places furniture, mannequins and clutter in a room."""

from __future__ import annotations

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Thing
from taskprism.rooms.clutter import add_ball, add_book_pile, add_box, add_plant, add_small_object
from taskprism.rooms.furniture import Cabinet, Chair, Piece, Shelf, Sofa, Table
from taskprism.rooms.lamps import FloorLamp, add_table_lamp
from taskprism.rooms.lights import Lamp
from taskprism.rooms.mannequins import add_seated_mannequin, add_standing_mannequin
from taskprism.rooms.plan import Footprint, Plan, Wall

_TRIES = 10  # positions tried for a piece before it is left out


class Furnisher:
    """Furnishes a room.

    Args:
        builder: Takes the solids.
        plan: The floor and the walls; what is placed is entered there.
        dice: For everything that is random.

    Attributes:
        lamps: Lights of the lamps that are on.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.furnishing import Furnisher
        >>> from taskprism.rooms.plan import Plan
        >>> plan = Plan(4.0, 5.0, 2.5)
        >>> Furnisher(Builder(), plan, Dice(0)).furnish()
        >>> len(plan.footprints) > 0
        True
    """

    def __init__(self, builder: Builder, plan: Plan, dice: Dice) -> None:
        self._builder, self._plan, self._dice = builder, plan, dice
        self.lamps: list[Lamp] = []
        self._people = dice.choice((0, 0, 1, 1, 1, 2))

    def furnish(self) -> None:
        """Fill the room."""
        dice = self._dice
        area = self._plan.width * self._plan.depth
        if dice.chance(0.65):
            self._place_dining_table()
        else:
            self._place_coffee_table()
        kinds: list[type[Piece]] = [Sofa, Cabinet, Shelf, Cabinet, Shelf, Table, FloorLamp, Chair]
        for kind in dice.shuffled(kinds)[: dice.integer(2, 3 + int(area / 8.0))]:
            self._place_against_wall(kind.random(dice))
        if dice.chance(0.4):
            self._place_plant()
        for _ in range(self._people):
            self._place_standing_person()
        for _ in range(dice.integer(0, 4)):
            self._place_floor_object()

    def _place_dining_table(self) -> None:
        """Place a table with chairs around it, on which mannequins may sit."""
        dice, builder = self._dice, self._builder
        table = Table.random(dice)
        around = Footprint(0.0, 0.0, table.width / 2.0 + 0.3, table.depth / 2.0 + 0.3, 1.0, 0.0)
        frame = self._find_free_place(
            2.0 * around.half_width, 2.0 * around.half_depth, 0.1, turned=0.3
        )
        if frame is None:
            return
        if dice.chance(0.3):
            self._place_rug(frame, table.width + 0.9, table.depth + 0.9)
        table.build(builder, frame, dice)
        self._put_objects_on(frame, table)
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
                add_seated_mannequin(
                    builder, place.moved(0.0, -0.02, chair.seat_height), self._body_height(), dice
                )
        self._plan.footprints.append(Footprint.of(frame, table.width, table.depth))

    def _place_coffee_table(self) -> None:
        """Place a low table, on a rug or without."""
        dice = self._dice
        table = Table.low(dice)
        frame = self._find_free_place(table.width, table.depth, 0.4, turned=0.3)
        if frame is None:
            return
        if dice.chance(0.7):
            self._place_rug(frame, table.width + 1.1, table.depth + 1.0)
        table.build(self._builder, frame, dice)
        self._put_objects_on(frame, table)
        self._plan.footprints.append(Footprint.of(frame, table.width, table.depth))

    def _place_rug(self, frame: Frame, width: float, depth: float) -> None:
        if not self._plan.holds(Footprint.of(frame, width, depth)):
            return
        self._builder.begin_surface(Thing.FLOOR)
        material = self._builder.add_material(palette.rug(self._dice))
        size = (width, depth, 0.002)  # too thin for its side to appear as a broken line
        self._builder.add_box(frame, (0.0, 0.0, 0.001), size, material, casts_shadow=False)

    def _put_objects_on(self, frame: Frame, table: Table) -> None:
        """Put small objects and lamps on a table."""
        dice = self._dice
        top = frame.moved(0.0, 0.0, table.height)
        cells = [(x, y) for x in (-0.3, 0.0, 0.3) for y in (-0.22, 0.22)]
        if table.round:
            cells = [(x * 0.75, y) for x, y in cells if x]
        radius = min(table.width * 0.14, table.depth * 0.2)
        for x, y in dice.shuffled(cells)[: dice.integer(0, 4)]:
            place = top.moved(x * table.width, y * table.depth, 0.0)
            if dice.chance(0.15):
                self._keep_light(
                    add_table_lamp(self._builder, place, dice, self._lamp_strength(0.5, 1.2))
                )
            else:
                add_small_object(self._builder, place, radius, 0.4, dice)

    def _place_against_wall(self, piece: Piece) -> None:
        """Place a piece with its back to a free part of a wall, never in front of a window."""
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
                self._build_at_wall(piece, frame, wall, (left, right, 0.0, piece.height + 0.1))
                self._plan.footprints.append(footprint)
                return

    def _build_at_wall(
        self, piece: Piece, frame: Frame, wall: Wall, taken: tuple[float, float, float, float]
    ) -> None:
        dice, builder = self._dice, self._builder
        wall.taken.append(taken)
        if isinstance(piece, FloorLamp):
            self._keep_light(piece.light(builder, frame, dice, self._lamp_strength(0.8, 2.2)))
            return
        piece.build(builder, frame, dice)
        if isinstance(piece, Table):
            self._put_objects_on(frame, piece)
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
            add_seated_mannequin(
                builder, frame.moved(x, -0.08, piece.seat_height), self._body_height(), dice
            )

    def _place_plant(self) -> None:
        dice = self._dice
        height = dice.uniform(0.5, 1.5)
        across = height * 0.55
        frame = self._find_free_place(across, across, 0.03)
        if frame is not None:
            add_plant(self._builder, frame, height, dice)
            self._plan.footprints.append(Footprint.of(frame, across, across))

    def _place_standing_person(self) -> None:
        frame = self._find_free_place(0.65, 0.85, 0.05, turned=PI)
        if frame is not None:
            add_standing_mannequin(self._builder, frame, self._body_height(), self._dice)
            self._plan.footprints.append(Footprint.of(frame, 0.65, 0.85))

    def _place_floor_object(self) -> None:
        """Place a ball, a box or books on the floor."""
        dice = self._dice
        side = dice.uniform(0.18, 0.5)
        frame = self._find_free_place(side, side, 0.05, turned=PI)
        if frame is None:
            return
        self._builder.begin_piece(Thing.OBJECT)
        kind = dice.uniform()
        if kind < 0.45:
            add_ball(self._builder, frame, side / 2.0, dice)
        elif kind < 0.85:
            size = (side, side * dice.uniform(0.6, 1.0), side * dice.uniform(0.4, 1.1))
            add_box(self._builder, frame, size, dice)
        else:
            add_book_pile(self._builder, frame, 0.3, 0.3, dice)
        self._plan.footprints.append(Footprint.of(frame, side, side))

    def _find_free_place(
        self, width: float, depth: float, gap: float, turned: float = 0.0
    ) -> Frame | None:
        """Find a place for a rectangle on the floor, with a gap to everything else.

        Args:
            width: Meters.
            depth: Meters.
            gap: Smallest distance to other footprints, meters.
            turned: Largest angle to the walls, radians.

        Returns:
            The place, or None after some failed tries.
        """
        dice, plan = self._dice, self._plan
        for _ in range(_TRIES):
            x = dice.uniform(-0.5, 0.5) * (plan.width - width)
            y = dice.uniform(-0.5, 0.5) * (plan.depth - depth)
            angle = dice.integer(0, 3) * PI / 2.0 + dice.uniform(-turned, turned)
            frame = Frame((x, y, 0.0)).turned("z", angle)
            if plan.fits(Footprint.of(frame, width, depth), gap):
                return frame
        return None

    def _body_height(self) -> float:
        return self._dice.uniform(1.6, 1.9)

    def _lamp_strength(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high) if self._dice.chance(0.6) else 0.0

    def _keep_light(self, lamp: Lamp | None) -> None:
        if lamp is not None:
            self.lamps.append(lamp)
