"""A furnished, lit room with a camera in it."""

from __future__ import annotations

from dataclasses import dataclass

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Vec, total, unit
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Camera
from taskprism.rooms.classes import Thing
from taskprism.rooms.decorating import Decorator
from taskprism.rooms.dice import Dice
from taskprism.rooms.furnishing import Furnisher
from taskprism.rooms.lights import Lamp, Opening, Sun
from taskprism.rooms.materials import MaterialTable
from taskprism.rooms.photograph import Film
from taskprism.rooms.plan import Plan
from taskprism.rooms.solids import SolidTable, pack
from taskprism.rooms.viewpoint import choose_camera


@dataclass(frozen=True)
class Scene:
    """Everything that a picture is drawn from.

    Attributes:
        solids: All solids.
        materials: All materials.
        things: Class of every instance.
        camera: Where the picture is taken from.
        lamps: The lights.
        sun: The sun, if it shines in.
        ambient_above: Light that surfaces get from above after many reflections, linear RGB.
        ambient_below: The same from below.
        occlusion_radius: How far away things shield from that light, meters.
        film: How the picture is exposed.
    """

    solids: SolidTable
    materials: MaterialTable
    things: tuple[Thing, ...]
    camera: Camera
    lamps: tuple[Lamp, ...]
    sun: Sun | None
    ambient_above: Vec
    ambient_below: Vec
    occlusion_radius: float
    film: Film


def sample_scene(seed: int) -> Scene:
    """The room of a seed; room, furniture, light and camera are drawn independently."""
    shell, light = Dice(seed, 0), Dice(seed, 2)
    builder = Builder()
    plan = Plan(shell.uniform(2.9, 6.2), shell.uniform(3.2, 7.0), shell.uniform(2.3, 3.1))
    walls = builder.material(palette.wall(shell))
    accent = builder.material(palette.wall(shell)) if shell.chance(0.35) else walls
    floor = builder.material(palette.floor(shell))
    ceiling = builder.material(_ceiling(shell))
    shell_materials = (walls, walls, walls, accent, floor, ceiling)

    daylight = light.uniform(0.9, 2.2) if light.chance(0.75) else 0.03
    decorator = Decorator(builder, plan, shell, daylight)
    openings = decorator.openings()
    furnisher = Furnisher(builder, plan, Dice(seed, 1))
    furnisher.furnish()
    decorator.walls_and_corners()
    by_day = daylight > 0.5 and bool(openings)
    lamps = [*decorator.ceiling_lamp(light, by_day=by_day), *furnisher.lamps]
    sun = None
    if by_day:
        lamps += [_skylight(opening, light, daylight) for opening in openings]
        sun = _sunshine(openings, light)
    lamps = lamps[:4]

    room = (plan.width, plan.depth, plan.height)
    solids = pack(room, shell_materials, builder.solids)
    tones = [builder.materials[k].colors[0] for k in (walls, floor, ceiling)]
    above, below = _ambient(room, lamps, sun, tones)
    return Scene(
        solids=solids,
        materials=MaterialTable.pack(builder.materials),
        things=tuple(builder.things),
        camera=choose_camera(solids, plan, Dice(seed, 3)),
        lamps=tuple(lamps),
        sun=sun,
        ambient_above=above,
        ambient_below=below,
        occlusion_radius=light.uniform(0.5, 1.0),
        film=Film.random(Dice(seed, 4)),
    )


def _ceiling(dice: Dice) -> palette.Material:
    if dice.chance(0.75):
        tone = palette.color(dice.uniform(), dice.uniform(0.0, 0.06), dice.uniform(0.85, 0.98))
        return palette.Material(colors=(tone, tone, tone))
    return palette.wood(dice) if dice.chance(0.5) else palette.wall(dice)


def _skylight(opening: Opening, dice: Dice, daylight: float) -> Lamp:
    """Light of the sky that a window lets in."""
    w, h = 2.0 * opening.half[0], 2.0 * opening.half[1]
    strength = daylight * w * h * dice.uniform(1.2, 2.2)
    blue = dice.uniform(0.95, 1.25)
    inward = opening.frame.y
    frame = opening.frame.moved(0.0, -0.06, 0.0)
    color = (strength * (2.0 - blue), strength, strength * blue)
    return Lamp.panel(frame, w * 0.9, h * 0.9, color, (-inward[0], -inward[1], -inward[2]))


def _sunshine(openings: list[Opening], dice: Dice) -> Sun | None:
    """The sun outside one of the windows, more often than not."""
    if not dice.chance(0.6):
        return None
    frame = dice.choice(openings).frame.turned("z", dice.uniform(-0.9, 0.9))
    toward = frame.turned("x", dice.uniform(0.35, 0.85)).y
    strength = dice.uniform(1.5, 4.0)
    warm = dice.uniform(0.6, 0.95)
    return Sun.shining(
        unit(toward), (strength, strength * (0.5 + warm / 2.0), strength * warm), tuple(openings)
    )


def _ambient(room: Vec, lamps: list[Lamp], sun: Sun | None, tones: list[Vec]) -> tuple[Vec, Vec]:
    """Light from above and below after many reflections, as in an integrating sphere."""
    w, d, h = room
    area = 2.0 * (w * d + w * h + d * h)
    above: list[float] = []
    below: list[float] = []
    for k in range(3):
        flux = total(lamp.color[k] * PI * (4.0 if lamp.facing is None else 1.0) for lamp in lamps)
        if sun is not None:
            flux += sun.color[k] * 0.6
        wall, floor, ceiling = (tone[k] for tone in tones)
        mean = (wall * 2.0 + floor + ceiling) / 4.0
        even = 0.8 * flux / area * mean / (1.05 - mean)
        above.append(even * (0.65 + 0.35 * (wall + ceiling)) + 0.01)
        below.append(even * (0.65 + 0.35 * (wall + floor)) + 0.01)
    return (above[0], above[1], above[2]), (below[0], below[1], below[2])
