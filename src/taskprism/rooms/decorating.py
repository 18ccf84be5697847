"""Windows, doors, pictures, skirting boards, pillars and ceiling lamps of a room."""

from __future__ import annotations

from taskprism.rooms import fittings, palette
from taskprism.rooms.arithmetic import PI
from taskprism.rooms.builder import Builder
from taskprism.rooms.classes import Thing
from taskprism.rooms.dice import Dice
from taskprism.rooms.frames import Frame
from taskprism.rooms.lamps import ceiling_panel, pendant
from taskprism.rooms.lights import Lamp, Opening
from taskprism.rooms.plan import Footprint, Plan, Wall


class Decorator:
    """Fits out the shell of a room: openings before it is furnished, the rest after."""

    def __init__(self, builder: Builder, plan: Plan, dice: Dice, daylight: float) -> None:
        self._builder, self._plan, self._dice = builder, plan, dice
        self._daylight = daylight

    def openings(self) -> list[Opening]:
        """Put in doors, windows and a pillar; give the windows."""
        dice = self._dice
        if dice.chance(0.35):
            self._pillar()
        for _ in range(dice.choice((0, 1, 1, 1, 2))):
            self._door(dice.choice(self._plan.walls))
        wanted = dice.choice((0, 1, 1, 2, 2, 3))
        found = [self._window(dice.choice(self._plan.walls)) for _ in range(wanted)]
        return [opening for opening in found if opening is not None]

    def walls_and_corners(self) -> None:
        """Hang pictures where the furniture leaves room, and nail down skirting boards."""
        dice = self._dice
        for wall in self._plan.walls:
            for _ in range(dice.choice((0, 1, 1, 2, 3))):
                self._picture(wall)
        if dice.chance(0.7):
            self._builder.surface(Thing.WALL)
            material = fittings.board_material(self._builder, dice)
            for wall in self._plan.walls:
                fittings.skirting(self._builder, wall.frame, wall.length, wall.doors, material)

    def ceiling_lamp(self, light: Dice, *, by_day: bool) -> list[Lamp]:
        """Hang a lamp; it is on by night, and now and then by day."""
        plan = self._plan
        if by_day and light.chance(0.35):
            return []
        on = not by_day or light.chance(0.5)
        strength = light.uniform(1.5, 4.0) if on else 0.0
        ceiling = Frame((light.bell(0.12) * plan.width, light.bell(0.12) * plan.depth, plan.height))
        if light.chance(0.5):
            lamp = pendant(self._builder, ceiling, light, strength)
        else:
            turned = ceiling.turned("z", PI / 2.0) if light.chance(0.5) else ceiling
            lamp = ceiling_panel(self._builder, turned, light, strength)
        return [lamp] if lamp is not None and on else []

    def _pillar(self) -> None:
        """A pillar in a corner, a chimney breast on a wall, or a beam under the ceiling."""
        dice, plan = self._dice, self._plan
        self._builder.surface(Thing.WALL)
        wall = dice.choice(plan.walls)
        if dice.chance(0.3):
            height = dice.uniform(0.12, 0.25)
            place = (0.0, -plan.depth * dice.uniform(0.2, 0.5), plan.height - height / 2.0)
            beam = self._builder.material(palette.wall(dice))
            across = plan.walls[0].frame
            self._builder.box(across, place, (plan.width, dice.uniform(0.15, 0.3), height), beam)
            return
        width, out = dice.uniform(0.35, 1.3), dice.uniform(0.2, 0.4)
        x = dice.choice((0.5, -0.5, dice.uniform(-0.3, 0.3))) * (wall.length - width)
        base = wall.frame.moved(x, -out / 2.0, 0.0)
        material = self._builder.material(palette.wall(dice))
        middle = (0.0, 0.0, plan.height / 2.0)
        self._builder.box(base, middle, (width, out, plan.height), material)
        plan.footprints.append(Footprint.of(base, width, out))
        wall.taken.append((x - width / 2.0, x + width / 2.0, 0.0, plan.height))

    def _door(self, wall: Wall) -> None:
        dice = self._dice
        w, h = dice.uniform(0.75, 0.95), min(dice.uniform(1.95, 2.1), self._plan.height - 0.15)
        x = dice.uniform(-0.5, 0.5) * (wall.length - w - 0.5)
        left, right = x - w / 2.0 - 0.1, x + w / 2.0 + 0.1
        if not wall.free(left, right, 0.0, h + 0.1):
            return
        fittings.door(self._builder, wall.frame.moved(x, 0.0, 0.0), (w, h), dice)
        wall.taken.append((left, right, 0.0, h + 0.1))
        wall.doors.append((left + 0.02, right - 0.02))
        in_front = wall.frame.moved(x, -0.4, 0.0)
        self._plan.footprints.append(Footprint.of(in_front, w, 0.8))

    def _window(self, wall: Wall) -> Opening | None:
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
        return fittings.window(self._builder, middle, (w, h), dice, self._daylight)

    def _picture(self, wall: Wall) -> None:
        dice = self._dice
        w, h = dice.uniform(0.25, 0.95), dice.uniform(0.25, 0.75)
        z = min(dice.uniform(1.3, 1.75), self._plan.height - h / 2.0 - 0.12)
        x = dice.uniform(-0.5, 0.5) * (wall.length - w - 0.3)
        box = (x - w / 2.0 - 0.08, x + w / 2.0 + 0.08, z - h / 2.0 - 0.08, z + h / 2.0 + 0.08)
        if wall.free(*box):
            wall.taken.append(box)
            fittings.picture(self._builder, wall.frame.moved(x, 0.0, z), (w, h), dice)
