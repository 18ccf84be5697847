"""Draw a room: from a seed to a picture and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.errors import InputError
from taskprism.rooms.arithmetic import Vec
from taskprism.rooms.camera import STEREO_BASELINE, Camera
from taskprism.rooms.classes import Thing
from taskprism.rooms.lights import Lamp, Sun, ball_samples
from taskprism.rooms.materials import Spots, albedo
from taskprism.rooms.photograph import expose, srgb
from taskprism.rooms.scene import Scene, sample_scene
from taskprism.rooms.solids import FACES, Shape, SolidTable
from taskprism.rooms.tracing import Rays, Triple, blocked, first_hits, inside_room, transform

CREASE_COSINE = 0.866
"""Two faces that meet at more than 30 degrees (cosine of the normals' angle below this) crease."""

DEPTH_STEP = 0.04
"""Relative depth jump that makes an occlusion edge within one thing."""

MIN_SALIENT = 0.004
"""Share of the image that a thing must cover to be salient."""


def edges(
    instance: np.ndarray, face: np.ndarray, depth: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Occlusion and crease edges, one pixel wide.

    There is an edge between two neighboring pixels (above or beside each other) of different
    things, of different faces that crease, or of different faces at depths that differ by more than
    ``DEPTH_STEP`` and what the surface's slant explains. Of the two pixels the one in front is
    marked, so that a line lies on the thing that owns it; where neither is in front, it is the one
    with the higher face number, so that a line stays on one side.

    Args:
        instance: ``(H, W)`` number of the thing.
        face: ``(H, W)`` number of the face.
        depth: ``(H, W)`` meters.
        normals: ``(H, W, 3)`` unit.

    Returns:
        The edges, boolean ``(H, W)``, and the pixels on both their sides.
    """
    marked = np.zeros(instance.shape, np.bool_)
    beside = np.zeros(instance.shape, np.bool_)
    for axis in (0, 1):
        a = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        b = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        other_face = face[a] != face[b]
        n = normals[a] * normals[b]
        crease = other_face & ((n[..., 0] + n[..., 1]) + n[..., 2] < CREASE_COSINE)
        gap = depth[b] - depth[a]
        step = other_face & (np.abs(gap) > DEPTH_STEP * np.minimum(depth[a], depth[b]))
        jump = step & (np.abs(gap) > 3.0 * _slant(depth, axis))
        between = (instance[a] != instance[b]) | crease | jump
        first = np.where(step, gap > 0.0, face[a] > face[b])
        marked[a] |= between & first
        marked[b] |= between & ~first
        beside[a] |= between
        beside[b] |= between
    return marked, beside


def _slant(depth: np.ndarray, axis: int) -> np.ndarray:
    """Smaller depth difference of the pairs before and after each pair of neighbors."""
    difference = np.abs(np.diff(depth, axis=axis))
    pad = [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)]
    wide = np.pad(difference, pad, mode="edge")
    length = difference.shape[axis]
    before = wide[:length] if axis == 0 else wide[:, :length]
    after = wide[2:] if axis == 0 else wide[:, 2:]
    return np.minimum(before, after)


def salient_instance(image: np.ndarray, instance: np.ndarray, eligible: np.ndarray) -> int | None:
    """The most salient thing.

    Every eligible thing that covers at least ``MIN_SALIENT`` of the image scores

        area / (area + 0.03) * (0.1 + contrast) * (1 - distance)^2

    with its share ``area`` of the image, the distance ``contrast`` of its mean sRGB color from the
    image's mean (in [0, sqrt(3)]), and its mean squared ``distance`` from the middle (1 in the
    corners).

    Args:
        image: uint8 ``(H, W, 3)``.
        instance: ``(H, W)`` number of the thing.
        eligible: Boolean ``(things,)``.

    Returns:
        Number of the thing, or None if none is eligible.
    """
    height, width = instance.shape
    flat = instance.ravel()
    things = len(eligible)
    count = np.bincount(flat, minlength=things)
    size = np.maximum(count, 1)
    # integer sums, which know no order of additions
    y = (2 * np.arange(height, dtype=np.int64) + 1 - height) ** 2
    x = (2 * np.arange(width, dtype=np.int64) + 1 - width) ** 2
    squares = (y[:, None] * width * width + x[None, :] * height * height).ravel()
    distance = np.bincount(flat, squares, things) / size / (2.0 * height * height * width * width)
    contrast = np.zeros(things)
    for channel in range(3):
        code = image[:, :, channel].ravel()
        mean = int(code.sum(dtype=np.int64)) / code.size
        apart = (np.bincount(flat, code, things) / size - mean) / 255.0
        contrast += apart * apart
    share = count / flat.size
    score = share / (share + 0.03) * (0.1 + np.sqrt(contrast)) * (1.0 - distance) * (1.0 - distance)
    score[~(eligible & (share >= MIN_SALIENT))] = 0.0
    best = int(np.argmax(score))
    return best if score[best] > 0.0 else None


@dataclass(frozen=True)
class Surface:
    """Visible points, one column per ray.

    Attributes:
        point: float32 ``(3, N)``, world, meters.
        normal: float32 ``(3, N)``, world, unit, toward the side that is seen.
        direction: float32 ``(3, N)``, of the camera rays, length 1 along the optical axis.
        depth: float32 ``(N,)``, meters along the optical axis.
        face: int32 ``(N,)``, ``solid * FACES + face``.
        spots: The same points in the coordinates of their textures.
    """

    point: np.ndarray
    normal: np.ndarray
    direction: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    spots: Spots


def surface(
    table: SolidTable,
    camera: Camera,
    focal: float,
    directions: np.ndarray,
    depth: np.ndarray,
    solid: np.ndarray,
) -> Surface:
    """Points where camera rays meet their nearest solids.

    Args:
        table: The scene.
        camera: Origin of the rays.
        focal: Focal length in pixels.
        directions: float32 ``(3, N)``, of length 1 along the optical axis.
        depth: float32 ``(N,)``.
        solid: int16 ``(N,)``.
    """
    origin = np.array(camera.frame.origin, np.float32)
    point = directions * depth + origin[:, None]
    matrix = table.matrix[:, solid]
    unit_point = transform(matrix, point - table.center[:, solid])
    unit_ray = transform(matrix, directions)
    axis, signs, face = _box_faces(solid, unit_point, unit_ray)
    unit_normal = [np.where(axis == k, signs[k], np.float32(0.0)) for k in range(3)]
    for shape in (Shape.ELLIPSOID, Shape.FRUSTUM):
        index = np.flatnonzero(table.shape[solid] == shape)
        if not index.size:
            continue
        at = [unit_point[k][index] for k in range(3)]
        own = [np.zeros(index.size, np.int8), at]
        if shape is Shape.FRUSTUM:
            ray = [unit_ray[k][index] for k in range(3)]
            own = _frustum_faces(at, ray, table.taper[solid[index]])
        face[index] = own[0]
        axis[index] = 1  # texture coordinates: u along x, v along the axis z
        for k in range(3):
            unit_normal[k][index] = own[1][k]
    transposed = [matrix[3 * row + column] for column in range(3) for row in range(3)]
    normal = np.stack(transform(transposed, unit_normal))
    square = normal * normal
    normal /= np.sqrt((square[0] + square[1]) + square[2])
    number = solid.astype(np.int32) * FACES + face
    spots = _spots(
        table, solid, number, axis, unit_point, _footprint(focal, directions, normal, depth)
    )
    return Surface(point, normal, directions, depth, number, spots)


def _box_faces(
    solid: np.ndarray, point: list[np.ndarray], ray: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Axis, signs of the normal and face number of the face nearest to the point that is seen.

    Only faces turned toward the ray's origin are considered, so that rounding at the rim of a face
    never gives one that looks away. The room (solid 0) is seen from inside.
    """
    signs = [np.where(d > 0.0, np.float32(-1.0), np.float32(1.0)) for d in ray]
    outward = np.where(solid == 0, np.float32(-1.0), np.float32(1.0))
    height = [point[k] * signs[k] * outward for k in range(3)]
    axis = np.where(height[1] > height[0], np.int8(1), np.int8(0))
    axis[height[2] > np.maximum(height[0], height[1])] = 2
    sign = np.choose(axis, signs) * outward
    face = axis * np.int8(2) + (sign > 0.0)
    return axis, signs, face


def _frustum_faces(
    point: list[np.ndarray], ray: list[np.ndarray], taper: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Face number (mantle, lower end, upper end) and normal in unit coordinates."""
    x, y, z = point
    rim = 1.0 + taper * z
    mantle = [x, y, -taper * rim]
    facing = (mantle[0] * ray[0] + mantle[1] * ray[1]) + mantle[2] * ray[2] < 0.0
    sign = np.where(ray[2] > 0.0, np.float32(-1.0), np.float32(1.0))
    end = (z * sign > np.sqrt(x * x + y * y) / rim) | ~facing
    face = np.where(end, np.where(sign > 0.0, np.int8(2), np.int8(1)), np.int8(0))
    zero = np.float32(0.0)
    return face, [
        np.where(end, zero, mantle[0]),
        np.where(end, zero, mantle[1]),
        np.where(end, sign, mantle[2]),
    ]


def _footprint(
    focal: float, directions: np.ndarray, normal: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    slant = np.abs(
        (directions[0] * normal[0] + directions[1] * normal[1]) + directions[2] * normal[2]
    )
    return depth / (np.float32(focal) * np.maximum(slant, 0.1))


def _spots(
    table: SolidTable,
    solid: np.ndarray,
    number: np.ndarray,
    axis: np.ndarray,
    point: list[np.ndarray],
    footprint: np.ndarray,
) -> Spots:
    half = table.half[:, solid]
    first = axis == 0
    last = axis == 2
    across = np.where(first, point[1], point[0])
    up = np.where(last, point[1], point[2])
    off = np.choose(axis, point)
    return Spots(
        u=across * np.where(first, half[1], half[0]),
        v=up * np.where(last, half[1], half[2]),
        w=off * np.choose(axis, list(half)),
        across=across,
        up=up,
        footprint=footprint,
        material=table.material[number],
    )


GENERATOR_VERSION = 1
"""Raised whenever the same seed gives other pixels than before."""

SMALLEST_SIDE = 8
"""Pixels; smaller images hold nothing to learn."""

# Three more rays for pixels beside an edge, about their middle.
_EXTRA = ((-0.33, -0.12), (0.06, 0.34), (0.27, -0.22))
_NEIGHBORS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_NEVER_SALIENT = (Thing.WALL, Thing.FLOOR, Thing.CEILING, Thing.WINDOW, Thing.DOOR)


@dataclass(frozen=True)
class RoomImage:
    """An image of a room and its labels, sampled at pixel centers.

    Attributes:
        image: uint8 ``(H, W, 3)``, sRGB.
        semseg: uint8 ``(H, W)``, index into ``CLASS_NAMES``.
        depth: float32 ``(H, W)``, meters along the optical axis.
        normals: float32 ``(H, W, 3)``, unit; x right, y up, z toward the camera.
        edge: Boolean ``(H, W)``, occlusion and crease edges, one pixel wide.
        saliency: Boolean ``(H, W)``, the most salient thing; None if nothing is salient.
        human_parts: uint8 ``(H, W)``, index into ``PART_NAMES``; None without a mannequin in view.
        albedo: float32 ``(H, W, 3)``, reflectance as an sRGB code in [0, 1].
        albedo_valid: Boolean ``(H, W)``; False on surfaces that give off light.
        disparity: float32 ``(H, W)``, pixels, ``STEREO_BASELINE * focal / depth``.
        instance: int16 ``(H, W)``, number of the thing within the room.
        face: int32 ``(H, W)``, number of the smooth face within the room.
        focal: Focal length in pixels; the principal point is the middle of the image.

    Example:
        >>> from taskprism.rooms import render_room
        >>> room = render_room(7, size=(48, 64))
        >>> room.depth.shape, room.normals.shape
        ((48, 64), (48, 64, 3))
    """

    image: np.ndarray
    semseg: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    edge: np.ndarray
    saliency: np.ndarray | None
    human_parts: np.ndarray | None
    albedo: np.ndarray
    albedo_valid: np.ndarray
    disparity: np.ndarray
    instance: np.ndarray
    face: np.ndarray
    focal: float


def render_room(seed: int, size: tuple[int, int]) -> RoomImage:
    """Draw the room of a seed.

    The same seed and size give the same bits on every machine with IEEE 754 arithmetic; another
    size shows the same room with the same horizontal field of view.

    Args:
        seed: Any non-negative integer.
        size: ``(H, W)`` in pixels.

    Raises:
        InputError: If the seed is negative or the size too small.
    """
    if seed < 0:
        raise InputError(f"The seed of a room must not be negative, got {seed}.")
    check_size(size)
    with np.errstate(all="ignore"):  # rays that miss divide by zero on their way
        return _render(sample_scene(seed), size)


def check_size(size: tuple[int, int]) -> None:
    """Raise :class:`InputError` if a size is too small."""
    if min(size) < SMALLEST_SIDE:
        raise InputError(f"A room needs at least {SMALLEST_SIDE} pixels a side, got {size}.")


def _render(scene: Scene, size: tuple[int, int]) -> RoomImage:
    table, camera = scene.solids, scene.camera
    focal = camera.focal(size[1])
    rays = Rays.of_pixels(camera, size)
    depth, solid = first_hits(table, camera, size, rays)
    seen = surface(
        table, camera, focal, rays.directions.reshape(3, -1), depth.ravel(), solid.ravel()
    )
    face = seen.face.reshape(size)
    instance = table.instance[face]
    n = seen.normal
    normals = np.stack(
        [
            ((n[0] * axis[0] + n[1] * axis[1]) + n[2] * axis[2]).reshape(size)
            for axis in (camera.frame.x, camera.frame.y, camera.frame.z)
        ],
        axis=-1,
    ).astype(np.float32)
    edge, beside = edges(instance, face, depth, normals)

    reflectance = albedo(scene.materials, seen.spots)
    openness = _openness(scene, seen, face)
    light = _radiance(scene, seen, reflectance, openness)
    light = _antialiased(scene, seen, face, beside, light, openness)
    image = expose(light[:3].reshape(3, *size), light[3:].reshape(3, *size), scene.film)

    classes = np.array(scene.things, np.uint8)
    semseg = classes[instance]
    parts = table.part[face]
    eligible = ~np.isin(classes, _NEVER_SALIENT)
    salient = salient_instance(image, instance, eligible)
    glowing = scene.materials.emission[seen.spots.material] > 0.0
    return RoomImage(
        image=image,
        semseg=semseg,
        depth=depth,
        normals=normals,
        edge=edge,
        saliency=None if salient is None else instance == salient,
        human_parts=parts if parts.any() else None,
        albedo=srgb(reflectance).reshape(3, *size).transpose(1, 2, 0).copy(),
        albedo_valid=~glowing.reshape(size),
        disparity=np.float32(STEREO_BASELINE * focal) / depth,
        instance=instance,
        face=face,
        focal=focal,
    )


def _openness(scene: Scene, at: Surface, face: np.ndarray) -> np.ndarray:
    """How much of the ambient light, of each lamp and of the sun reaches each pixel, in [0, 1].

    Returns:
        float32 ``(1 + lamps + suns, H * W)``.
    """
    rows, columns = (grid.ravel() for grid in np.indices(face.shape))
    number = sample_numbers(rows, columns)
    table = scene.solids
    free = [openness(table, at, scene.occlusion_radius, number)]
    free += [lamp_visible(table, at, lamp, number) for lamp in scene.lamps]
    if scene.sun is not None:
        free.append(sun_visible(table, at, scene.sun, number))
    stacked = np.stack(free).astype(np.float32)
    return smoothed(stacked.reshape(-1, *face.shape), face).reshape(stacked.shape)


def _radiance(
    scene: Scene, at: Surface, reflectance: np.ndarray, openness: np.ndarray
) -> np.ndarray:
    """Reflected light and emission, float32 ``(6, N)``."""
    material = at.spots.material
    gloss, emission = scene.materials.gloss[material], scene.materials.emission[material]
    up = at.normal[2] * np.float32(0.5) + np.float32(0.5)
    result = np.empty((6, reflectance.shape[1]), np.float32)
    for k in range(3):
        low, high = scene.ambient_below[k], scene.ambient_above[k]
        result[k] = reflectance[k] * ((low + (high - low) * up) * openness[0])
        result[3 + k] = reflectance[k] * emission
    sources = [(lamp.color, *lamp_light(at, lamp)) for lamp in scene.lamps]
    if scene.sun is not None:
        sources.append((scene.sun.color, *sun_light(at, scene.sun)))
    for (color, light, way), free in zip(sources, openness[1:], strict=True):
        light *= free
        shine = light * highlight(at, way, gloss)
        for k in range(3):
            result[k] += np.float32(color[k]) * (light * reflectance[k] + shine)
    return result


def _antialiased(
    scene: Scene,
    seen: Surface,
    face: np.ndarray,
    beside: np.ndarray,
    light: np.ndarray,
    openness: np.ndarray,
) -> np.ndarray:
    """Mix three more rays into the pixels on both sides of an edge."""
    row, column = np.nonzero(beside)
    if not row.size:
        return light
    size = face.shape
    rows, columns = np.repeat(row, len(_EXTRA)), np.repeat(column, len(_EXTRA))
    offsets = np.array(_EXTRA * row.size)
    table, camera = scene.solids, scene.camera
    directions = camera.directions(
        columns + (0.5 + offsets[:, 0]), rows + (0.5 + offsets[:, 1]), size
    )
    present = np.flatnonzero(np.bincount(seen.face // FACES, minlength=len(table.shape)))
    depth, hit = first_hits(table, camera, size, Rays(directions, rows), present)
    extra = surface(table, camera, camera.focal(size[1]), directions, depth, hit)
    source = _same_face_nearby(face, extra.face, rows, columns)
    reflectance = albedo(scene.materials, extra.spots)
    more = _radiance(scene, extra, reflectance, openness[:, source])
    at = row * size[1] + column
    mixed = light.copy()
    total = ((light[:, at] + more[:, 0::3]) + more[:, 1::3]) + more[:, 2::3]
    mixed[:, at] = total * np.float32(0.25)
    return mixed


def _same_face_nearby(
    face: np.ndarray, wanted: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Flat index of a pixel at or next to each place that shows the wanted face.

    Where none does, the place's own pixel.
    """
    height, width = face.shape
    flat = face.ravel()
    found = rows * width + columns
    missing = np.flatnonzero(flat[found] != wanted)
    for dy, dx in _NEIGHBORS:
        y = np.clip(rows[missing] + dy, 0, height - 1)
        x = np.clip(columns[missing] + dx, 0, width - 1)
        index = y * width + x
        match = flat[index] == wanted[missing]
        found[missing[match]] = index[match]
        missing = missing[~match]
    return found


_OFF = np.float32(3e-3)  # meters that shadow rays start above the surface
_BLOCK = 1 << 14  # rays at once, so that intermediate arrays stay in the cache
_FAR = np.float32(30.0)  # meters, longer than any room
_SHINE = 5  # the highlight is a cosine to the power of 2 ** 5

# 4 x 4 ordered dither: any 4 x 4 pixels hold every number once, neighbors hold distant ones
_DITHER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_TENT = (0.5, 1.0, 1.0, 1.0, 0.5)  # gives each of the 16 numbers the same weight


def sample_numbers(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Which of the light samples a pixel sees."""
    return _DITHER[rows % 4, columns % 4]


def lamp_light(at: Surface, lamp: Lamp) -> tuple[np.ndarray, np.ndarray]:
    """Light that would come from the middle of a lamp if nothing stood between.

    Returns:
        Irradiance per unit of intensity ``(N,)`` and the way to the lamp ``(3, N)``.
    """
    middle = lamp.middle
    way = np.stack([np.float32(middle[k]) - at.point[k] for k in range(3)])
    square = np.maximum(_dot(way, way), np.float32(0.04))
    inverse = 1.0 / np.sqrt(square)
    light = np.maximum(_dot(at.normal, way), 0.0) * inverse / square
    if lamp.facing is not None:
        light *= np.maximum(-_dot(lamp.facing, way), 0.0) * inverse
    return light, way


def sun_light(at: Surface, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """The same for the sun, as if there were no walls."""
    way = np.stack([np.full(at.depth.shape, x, np.float32) for x in sun.direction])
    return np.maximum(_dot(at.normal, way), 0.0), way


def lamp_visible(table: SolidTable, at: Surface, lamp: Lamp, number: np.ndarray) -> np.ndarray:
    """Whether the numbered sample of the lamp is visible from each point, boolean ``(N,)``."""
    way = lamp.places.T[:, number] - at.point
    return _visible(table, at, way, _dot(at.normal, way) > 0.0)


def sun_visible(table: SolidTable, at: Surface, sun: Sun, number: np.ndarray) -> np.ndarray:
    """Whether the numbered sample of the sun shines through a window onto each point."""
    toward = sun.places.T[:, number]
    enters = np.zeros(number.shape, np.bool_)
    for opening in sun.openings:
        frame = opening.frame
        offset = [np.float32(frame.origin[k]) - at.point[k] for k in range(3)]
        speed = _dot(frame.y, toward)
        steps = _dot(frame.y, offset) / np.where(speed > 1e-3, speed, np.float32(1e9))
        place = [steps * toward[k] - offset[k] for k in range(3)]
        across, up = np.abs(_dot(frame.x, place)), np.abs(_dot(frame.z, place))
        enters |= (
            (speed > 1e-3)
            & (across < opening.half[0])
            & (up < opening.half[1])
            & (across > opening.bar)
            & (up > opening.bar)
        )
    return _visible(table, at, toward * _FAR, enters & (_dot(at.normal, toward) > 0.0))


def openness(table: SolidTable, at: Surface, radius: float, number: np.ndarray) -> np.ndarray:
    """1 where one direction about the normal is free for ``radius`` meters, less where it is not.

    The directions over the dither follow the cosine law. Walls count less than furniture, because
    they throw light back. float32 ``(N,)``.
    """
    way = at.normal + ball_samples().T.astype(np.float32)[:, number]
    way *= np.float32(radius) / np.sqrt(_dot(way, way) + np.float32(1e-6))
    free = _visible(table, at, way, np.ones(number.shape, np.bool_)).astype(np.float32)
    walled = ~inside_room(table, at.point + at.normal * _OFF, way)
    return np.where(walled, np.minimum(free, np.float32(0.45)), free)


def _visible(table: SolidTable, at: Surface, way: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Whether the ends of the ways are visible; False where not asked."""
    seen = np.zeros(asked.shape, np.bool_)
    index = np.flatnonzero(asked)
    for start in range(0, index.size, _BLOCK):
        some = index[start : start + _BLOCK]
        origin = at.point[:, some] + at.normal[:, some] * _OFF
        seen[some] = ~blocked(table, origin, way[:, some])
    return seen


def smoothed(values: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Mean over the dither, within the same face.

    Args:
        values: float32 ``(S, H, W)``, each from one light sample per pixel.
        face: int32 ``(H, W)``; pixels of other faces are left out of the mean.
    """
    height, width = face.shape
    padded = np.pad(values, ((0, 0), (2, 2), (2, 2)))
    faces = np.pad(face, 2, constant_values=-1)
    total = np.zeros_like(values)
    weights = np.zeros(face.shape, np.float32)
    for dy in range(5):
        for dx in range(5):
            rows, columns = slice(dy, dy + height), slice(dx, dx + width)
            same = (faces[rows, columns] == face) * np.float32(_TENT[dy] * _TENT[dx])
            total += padded[:, rows, columns] * same
            weights += same
    return total / weights


def highlight(at: Surface, way: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """Blinn's highlight per unit of irradiance, float32 ``(N,)``."""
    result = np.zeros_like(gloss)
    index = np.flatnonzero(gloss > 0.0)
    to, back, normal = way[:, index], -at.direction[:, index], at.normal[:, index]
    half = to / np.sqrt(_dot(to, to)) + back / np.sqrt(_dot(back, back))
    cosine = np.maximum(_dot(normal, half), 0.0) / np.sqrt(_dot(half, half) + np.float32(1e-9))
    for _ in range(_SHINE):
        cosine = cosine * cosine
    result[index] = cosine * gloss[index]
    return result


def _dot(a: Vec | Triple | np.ndarray, b: Triple | np.ndarray) -> np.ndarray:
    return (a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]
