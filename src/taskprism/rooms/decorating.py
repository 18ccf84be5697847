"""Places windows, doors, pictures, skirting boards, pillars and ceiling lamps."""

from __future__ import annotations

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Frame
from taskprism.rooms.classes import Thing
from taskprism.rooms.lamps import add_ceiling_panel, add_pendant_lamp
from taskprism.rooms.lights import Lamp, Opening
from taskprism.rooms.materials import scaled
from taskprism.rooms.plan import Footprint, Plan, Wall


class Decorator:
    """Decorates the walls and the ceiling of a room.

    Doors and windows come before the furniture, pictures and lamps after it.

    Args:
        builder: Takes the solids.
        plan: The floor and the walls; what is placed is entered there.
        dice: For positions, sizes and materials.
        daylight: Light of the sky in the windows, relative to a well exposed white.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.builder import Builder
        >>> from taskprism.rooms.decorating import Decorator
        >>> from taskprism.rooms.plan import Plan
        >>> decorator = Decorator(Builder(), Plan(4.0, 5.0, 2.5), Dice(3), daylight=1.0)
        >>> len(decorator.add_openings()) <= 3
        True
    """

    def __init__(self, builder: Builder, plan: Plan, dice: Dice, daylight: float) -> None:
        self._builder, self._plan, self._dice = builder, plan, dice
        self._daylight = daylight

    def add_openings(self) -> list[Opening]:
        """Add doors, windows and a pillar, and return the windows."""
        dice = self._dice
        if dice.chance(0.35):
            self._place_pillar()
        for _ in range(dice.choice((0, 1, 1, 1, 2))):
            self._place_door(dice.choice(self._plan.walls))
        wanted = dice.choice((0, 1, 1, 2, 2, 3))
        found = [self._place_window(dice.choice(self._plan.walls)) for _ in range(wanted)]
        return [opening for opening in found if opening is not None]

    def add_pictures_and_boards(self) -> None:
        """Add pictures where the furniture leaves room, and skirting boards."""
        dice = self._dice
        for wall in self._plan.walls:
            for _ in range(dice.choice((0, 1, 1, 2, 3))):
                self._place_picture(wall)
        if dice.chance(0.7):
            self._builder.begin_surface(Thing.WALL)
            material = _board_material(self._builder, dice)
            for wall in self._plan.walls:
                _add_skirting_board(self._builder, wall.frame, wall.length, wall.doors, material)

    def add_ceiling_lamp(self, light: Dice, *, by_day: bool) -> list[Lamp]:
        """Add a lamp and return its light, if it is on: always at night, sometimes by day."""
        plan = self._plan
        if by_day and light.chance(0.35):
            return []
        on = not by_day or light.chance(0.5)
        strength = light.uniform(1.5, 4.0) if on else 0.0
        ceiling = Frame((light.bell(0.12) * plan.width, light.bell(0.12) * plan.depth, plan.height))
        if light.chance(0.5):
            lamp = add_pendant_lamp(self._builder, ceiling, light, strength)
        else:
            turned = ceiling.turned("z", PI / 2.0) if light.chance(0.5) else ceiling
            lamp = add_ceiling_panel(self._builder, turned, light, strength)
        return [lamp] if lamp is not None and on else []

    def _place_pillar(self) -> None:
        """Place a pillar in a corner, a chimney breast on a wall, or a beam under the ceiling."""
        dice, plan = self._dice, self._plan
        self._builder.begin_surface(Thing.WALL)
        wall = dice.choice(plan.walls)
        if dice.chance(0.3):
            height = dice.uniform(0.12, 0.25)
            place = (0.0, -plan.depth * dice.uniform(0.2, 0.5), plan.height - height / 2.0)
            beam = self._builder.add_material(palette.wall(dice))
            across = plan.walls[0].frame
            self._builder.add_box(
                across, place, (plan.width, dice.uniform(0.15, 0.3), height), beam
            )
            return
        width, out = dice.uniform(0.35, 1.3), dice.uniform(0.2, 0.4)
        x = dice.choice((0.5, -0.5, dice.uniform(-0.3, 0.3))) * (wall.length - width)
        base = wall.frame.moved(x, -out / 2.0, 0.0)
        material = self._builder.add_material(palette.wall(dice))
        middle = (0.0, 0.0, plan.height / 2.0)
        self._builder.add_box(base, middle, (width, out, plan.height), material)
        plan.footprints.append(Footprint.of(base, width, out))
        wall.taken.append((x - width / 2.0, x + width / 2.0, 0.0, plan.height))

    def _place_door(self, wall: Wall) -> None:
        dice = self._dice
        w, h = dice.uniform(0.75, 0.95), min(dice.uniform(1.95, 2.1), self._plan.height - 0.15)
        x = dice.uniform(-0.5, 0.5) * (wall.length - w - 0.5)
        left, right = x - w / 2.0 - 0.1, x + w / 2.0 + 0.1
        if not wall.free(left, right, 0.0, h + 0.1):
            return
        _add_door(self._builder, wall.frame.moved(x, 0.0, 0.0), (w, h), dice)
        wall.taken.append((left, right, 0.0, h + 0.1))
        wall.doors.append((left + 0.02, right - 0.02))
        in_front = wall.frame.moved(x, -0.4, 0.0)
        self._plan.footprints.append(Footprint.of(in_front, w, 0.8))

    def _place_window(self, wall: Wall) -> Opening | None:
        dice = self._dice
        sill = dice.uniform(0.7, 1.05)
        h = min(dice.uniform(0.9, 1.4), self._plan.height - sill - 0.3)
        w = min(dice.uniform(0.8, 2.0), wall.length - 1.0)
        x = dice.uniform(-0.5, 0.5) * (wall.length - w - 0.9)
        left, right = x - w / 2.0 - 0.38, x + w / 2.0 + 0.38
        low, high = sill - 0.15, sill + h + 0.15
        if not wall.free(left, right, low, high):
            return None
        wall.taken.append((left, right, low, high))
        middle = wall.frame.moved(x, 0.0, sill + h / 2.0)
        return _add_window(self._builder, middle, (w, h), dice, self._daylight)

    def _place_picture(self, wall: Wall) -> None:
        dice = self._dice
        w, h = dice.uniform(0.25, 0.95), dice.uniform(0.25, 0.75)
        z = min(dice.uniform(1.3, 1.75), self._plan.height - h / 2.0 - 0.12)
        x = dice.uniform(-0.5, 0.5) * (wall.length - w - 0.3)
        box = (x - w / 2.0 - 0.08, x + w / 2.0 + 0.08, z - h / 2.0 - 0.08, z + h / 2.0 + 0.08)
        if wall.free(*box):
            wall.taken.append(box)
            _add_picture(self._builder, wall.frame.moved(x, 0.0, z), (w, h), dice)


def _add_window(
    builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice, brightness: float
) -> Opening:
    """Add a window to a wall (frame: x right, y out of the room, z up).

    Args:
        builder: Takes the solids.
        middle: Center of the window on the wall.
        size: Width and height.
        dice: For materials and bars.
        brightness: Light of the sky, relative to a well exposed white.
    """
    builder.begin_piece(Thing.WINDOW, casts_shadow=False)
    wooden = builder.add_material(
        palette.furniture(dice) if dice.chance(0.4) else palette.metal(dice)
    )
    glass = builder.add_material(palette.outdoors(dice, brightness))
    w, h = size
    rim = dice.uniform(0.04, 0.08)
    builder.add_box(middle, (0.0, 0.0, 0.0), (w, 0.02, h), glass)
    _add_frame(builder, middle, (w, h), (rim, 0.03), wooden)
    bar = dice.uniform(0.012, 0.025)
    if dice.chance(0.7):
        builder.add_box(middle, (0.0, 0.0, 0.0), (2.0 * bar, 0.03, h), wooden)
    if dice.chance(0.5):
        builder.add_box(middle, (0.0, 0.0, 0.0), (w, 0.03, 2.0 * bar), wooden)
    sill = (w + 0.2, 0.28, 0.035)
    builder.add_box(middle, (0.0, 0.0, -h / 2.0 - rim - 0.0175), sill, wooden)
    if dice.chance(0.5):
        _add_curtains(builder, middle, size, dice)
    return Opening(middle, (w / 2.0, h / 2.0), bar)


def _add_curtains(builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice) -> None:
    cloth = builder.add_material(palette.cloth(dice))
    rod = builder.add_material(palette.metal(dice))
    w, h = size
    wide = dice.uniform(0.2, 0.34)
    drop = dice.uniform(0.15, 0.5)
    top = h / 2.0 + 0.1
    bar = middle.moved(-w / 2.0 - wide, -0.1, top).turned("y", PI / 2.0)
    builder.add_frustum(bar, (0.0, 0.0, 0.0), (0.015, 0.015), w + 2.0 * wide, rod)
    folds = 4
    for side in (-1.0, 1.0):
        for k in range(folds):
            x = side * (w / 2.0 + wide * ((k + 0.5) / folds - 0.25))
            radius = wide / folds * 0.56
            foot = (x, -0.1, -h / 2.0 - drop)
            builder.add_frustum(middle, foot, (radius, radius), h + drop + 0.1, cloth, flatness=0.7)


def _add_door(builder: Builder, base: Frame, size: tuple[float, float], dice: Dice) -> None:
    """Add a closed door that stands at the foot of a wall."""
    builder.begin_piece(Thing.DOOR, casts_shadow=False)
    base_material = palette.furniture(dice)
    leaf = builder.add_material(palette.panelled(dice, base_material, float(dice.integer(1, 4))))
    trim = builder.add_material(base_material)
    knob = builder.add_material(palette.metal(dice))
    w, h = size
    middle = base.moved(0.0, 0.0, h / 2.0)
    builder.add_box(middle, (0.0, 0.0, 0.0), (w, 0.02, h), leaf)
    for side in (-1.0, 1.0):
        builder.add_box(middle, (side * (w / 2.0 + 0.04), 0.0, 0.04), (0.08, 0.03, h + 0.08), trim)
    builder.add_box(middle, (0.0, 0.0, h / 2.0 + 0.04), (w, 0.03, 0.08), trim)
    side = dice.sign()
    builder.add_ellipsoid(base, (side * (w / 2.0 - 0.07), -0.04, 1.0), (0.03, 0.03, 0.03), knob)
    lever = (side * (w / 2.0 - 0.11), -0.055, 1.0)
    builder.add_box(base, lever, (0.11, 0.02, 0.02), knob)


def _add_picture(builder: Builder, middle: Frame, size: tuple[float, float], dice: Dice) -> None:
    """Add a framed picture around a point on a wall."""
    builder.begin_piece(Thing.PICTURE, casts_shadow=False)
    canvas = builder.add_material(palette.painting(dice))
    rim = builder.add_material(palette.wood(dice) if dice.chance(0.5) else palette.metal(dice))
    w, h = size
    width = dice.uniform(0.015, 0.05)
    builder.add_box(middle, (0.0, 0.0, 0.0), (w, 0.03, h), canvas)
    _add_frame(builder, middle, size, (width, 0.02), rim)


def _add_frame(
    builder: Builder,
    middle: Frame,
    size: tuple[float, float],
    profile: tuple[float, float],
    material: int,
) -> None:
    """Add four bars around a rectangle; ``profile`` is their width and how far they protrude."""
    (w, h), (wide, out) = size, profile
    for side in (-1.0, 1.0):
        place = (0.0, 0.0, side * (h + wide) / 2.0)
        builder.add_box(middle, place, (w + 2.0 * wide, 2.0 * out, wide), material)
        builder.add_box(middle, (side * (w + wide) / 2.0, 0.0, 0.0), (wide, 2.0 * out, h), material)


def _add_skirting_board(
    builder: Builder, base: Frame, length: float, gaps: list[tuple[float, float]], material: int
) -> None:
    """Add a board along the foot of a wall, interrupted at the doors."""
    start = -length / 2.0
    for low, high in [*sorted(gaps), (length / 2.0, length / 2.0)]:
        if low > start:
            middle = (start + low) / 2.0
            builder.add_box(
                base, (middle, 0.0, 0.045), (low - start, 0.006, 0.09), material, casts_shadow=False
            )
        start = high


def _board_material(builder: Builder, dice: Dice) -> int:
    """Add a material for the skirting boards and return its number."""
    white = palette.Material(colors=(scaled((0.8, 0.8, 0.8), dice.uniform(0.7, 1.1)),) * 3)
    return builder.add_material(white if dice.chance(0.6) else palette.wood(dice))
