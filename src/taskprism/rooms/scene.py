"""Samples a furnished, lit room and a camera in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.rooms import palette
from taskprism.rooms.arithmetic import PI, Dice, Vec, radians, total, unit
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Camera
from taskprism.rooms.classes import Thing
from taskprism.rooms.decorating import Decorator
from taskprism.rooms.furnishing import Furnisher
from taskprism.rooms.lights import Lamp, Opening, Sun
from taskprism.rooms.materials import MaterialTable
from taskprism.rooms.photograph import Film
from taskprism.rooms.plan import Plan
from taskprism.rooms.solids import SolidTable, pack

_CANDIDATES = 14  # viewpoints to choose from
_GRID = (6, 8)  # rays that a viewpoint is scored with


def choose_camera(table: SolidTable, plan: Plan, dice: Dice) -> Camera:
    """The best of some random viewpoints: many pieces in view, none of them close.

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> from taskprism.rooms.plan import Plan
        >>> from taskprism.rooms.scene import choose_camera
        >>> from taskprism.rooms.solids import pack
        >>> empty = pack((4.0, 6.0, 3.0), (0,) * 6, [])
        >>> camera = choose_camera(empty, Plan(4.0, 6.0, 3.0), Dice(0))
        >>> abs(camera.frame.origin[0]) < 2.0
        True
    """
    best: Camera | None = None
    best_score = -1e9
    for _ in range(_CANDIDATES):
        place = (
            dice.uniform(-0.5, 0.5) * (plan.width - 0.5),
            dice.uniform(-0.5, 0.5) * (plan.depth - 0.5),
            min(dice.uniform(1.0, 1.9), plan.height - 0.4),
        )
        camera = _looking_inward(place, plan, dice)
        score = _score(table, camera, plan.clearance(place)) + dice.uniform(0.0, 1.5)
        if score > best_score:
            best, best_score = camera, score
    assert best is not None
    return best


def _looking_inward(place: Vec, plan: Plan, dice: Dice) -> Camera:
    """A camera that looks toward the middle of the room."""
    x = dice.bell(0.2) * plan.width - place[0]
    y = dice.bell(0.2) * plan.depth - place[1]
    distance = max(float(np.sqrt(x * x + y * y)), 0.3)
    frame = Camera.looking(place, 0.0, 0.0, 0.0, 60.0).frame
    # the world's y axis turned onto (x, y) / distance
    toward = frame.rotated("y", y / distance, -x / distance)
    pitch = radians(-4.0 - 9.0 * (place[2] - 1.0) + dice.bell(6.0))
    turned = toward.turned("x", pitch).turned("z", radians(dice.bell(2.5)))
    return Camera(turned, dice.uniform(0.5, 0.85))


def _score(table: SolidTable, camera: Camera, clearance: float) -> float:
    """Score of a viewpoint: number of visible pieces and free space around the camera."""
    rows, columns = _GRID
    row, column = np.indices(_GRID)
    rays = camera.directions(column + 0.5, row + 0.5, _GRID).reshape(3, -1)
    inverse = 1.0 / np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    low = np.array([g.low for g in table.groups], np.float32).reshape(-1, 3)
    high = np.array([g.high for g in table.groups], np.float32).reshape(-1, 3)
    near = np.full((len(low), rays.shape[1]), -1e9, np.float32)
    far = -near
    for k in range(3):
        a = (low[:, k, None] - np.float32(camera.frame.origin[k])) * inverse[k]
        b = (high[:, k, None] - np.float32(camera.frame.origin[k])) * inverse[k]
        near = np.maximum(near, np.minimum(a, b))
        far = np.minimum(far, np.maximum(a, b))
    inside = (near <= 0.0) & (far > 0.0) & (near <= far)
    near = np.where((near <= far) & (far > 0.0), np.maximum(near, 0.0), np.float32(99.0))
    nearest = near.min(axis=0) if len(low) else np.full(rays.shape[1], 99.0)
    seen = np.unique(near.argmin(axis=0)[nearest < 90.0]).size if len(low) else 0
    crowded = int((nearest < 1.0).sum()) / (rows * columns)
    empty = int((nearest > 90.0).sum()) / (rows * columns)
    penalty = 6.0 if bool(inside.any()) else 0.0
    return (
        1.2 * min(seen, 6)
        - 8.0 * crowded
        - 4.0 * max(empty - 0.5, 0.0)
        - penalty
        + min(clearance * 4.0, 1.2)
    )


@dataclass(frozen=True)
class Scene:
    """Everything that an image is rendered from.

    Attributes:
        solids: All solids.
        materials: All materials.
        things: Class of every instance.
        camera: Viewpoint of the image.
        lamps: Lights inside the room, and the sky in the windows.
        sun: The sun, if it shines into the room.
        ambient_above: Light that reaches surfaces from above after many reflections, linear RGB.
        ambient_below: The same from below.
        occlusion_radius: Distance up to which objects block ambient light, meters.
        film: How the image is exposed.

    Example:
        >>> from taskprism.rooms.scene import sample_scene
        >>> scene = sample_scene(3)
        >>> scene.things[1].name, len(scene.lamps) <= 4
        ('FLOOR', True)
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
    """Sample the room of a seed. Shell, furniture, light and camera are independent of each other.

    Example:
        >>> from taskprism.rooms.scene import sample_scene
        >>> sample_scene(3).camera == sample_scene(3).camera
        True
    """
    shell, light = Dice(seed, 0), Dice(seed, 2)
    builder = Builder()
    plan = Plan(shell.uniform(2.9, 6.2), shell.uniform(3.2, 7.0), shell.uniform(2.3, 3.1))
    walls = builder.add_material(palette.wall(shell))
    accent = builder.add_material(palette.wall(shell)) if shell.chance(0.35) else walls
    floor = builder.add_material(palette.floor(shell))
    ceiling = builder.add_material(_ceiling(shell))
    shell_materials = (walls, walls, walls, accent, floor, ceiling)

    daylight = light.uniform(0.9, 2.2) if light.chance(0.75) else 0.03
    decorator = Decorator(builder, plan, shell, daylight)
    openings = decorator.add_openings()
    furnisher = Furnisher(builder, plan, Dice(seed, 1))
    furnisher.furnish()
    decorator.add_pictures_and_boards()
    by_day = daylight > 0.5 and bool(openings)
    lamps = [*decorator.add_ceiling_lamp(light, by_day=by_day), *furnisher.lamps]
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
    """Light of the sky through a window."""
    w, h = 2.0 * opening.half[0], 2.0 * opening.half[1]
    strength = daylight * w * h * dice.uniform(1.2, 2.2)
    blue = dice.uniform(0.95, 1.25)
    inward = opening.frame.y
    frame = opening.frame.moved(0.0, -0.06, 0.0)
    color = (strength * (2.0 - blue), strength, strength * blue)
    return Lamp.panel(frame, w * 0.9, h * 0.9, color, (-inward[0], -inward[1], -inward[2]))


def _sunshine(openings: list[Opening], dice: Dice) -> Sun | None:
    """In most rooms, the sun outside one of the windows."""
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
