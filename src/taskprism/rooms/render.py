"""Draw a room: from a seed to a picture and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskprism.errors import InputError
from taskprism.rooms import shading
from taskprism.rooms.camera import STEREO_BASELINE
from taskprism.rooms.classes import Thing
from taskprism.rooms.labels import edges, salient_instance
from taskprism.rooms.photograph import expose, srgb
from taskprism.rooms.scene import Scene, sample_scene
from taskprism.rooms.solids import FACES
from taskprism.rooms.surfaces import Surface, surface
from taskprism.rooms.textures import albedo
from taskprism.rooms.tracing import Rays, first_hits

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
    """A picture of a room and everything that is known about it, at the middle of each pixel.

    Attributes:
        image: uint8 ``(H, W, 3)``, sRGB.
        semseg: uint8 ``(H, W)``, index into ``CLASS_NAMES``.
        depth: float32 ``(H, W)``, meters along the optical axis.
        normals: float32 ``(H, W, 3)``, unit; x right, y up, z toward the camera.
        edge: Boolean ``(H, W)``, occlusion and crease edges, one pixel wide.
        saliency: Boolean ``(H, W)``, the most salient thing; None if nothing stands out.
        human_parts: uint8 ``(H, W)``, index into ``PART_NAMES``; None without a mannequin in view.
        albedo: float32 ``(H, W, 3)``, reflectance as an sRGB code in [0, 1].
        albedo_valid: Boolean ``(H, W)``; False on surfaces that give off light.
        disparity: float32 ``(H, W)``, pixels, ``STEREO_BASELINE * focal / depth``.
        instance: int16 ``(H, W)``, number of the thing within the room.
        face: int32 ``(H, W)``, number of the smooth face within the room.
        focal: Focal length in pixels; the principal point is the middle of the image.
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
    number = shading.sample_numbers(rows, columns)
    table = scene.solids
    free = [shading.openness(table, at, scene.occlusion_radius, number)]
    free += [shading.lamp_visible(table, at, lamp, number) for lamp in scene.lamps]
    if scene.sun is not None:
        free.append(shading.sun_visible(table, at, scene.sun, number))
    stacked = np.stack(free).astype(np.float32)
    return shading.smoothed(stacked.reshape(-1, *face.shape), face).reshape(stacked.shape)


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
    sources = [(lamp.color, *shading.lamp_light(at, lamp)) for lamp in scene.lamps]
    if scene.sun is not None:
        sources.append((scene.sun.color, *shading.sun_light(at, scene.sun)))
    for (color, light, way), free in zip(sources, openness[1:], strict=True):
        light *= free
        shine = light * shading.highlight(at, way, gloss)
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
