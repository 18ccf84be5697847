"""Renders a room: from a seed to an image with labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskprism.checks import check_integer, check_size
from taskprism.rooms.arithmetic import dot
from taskprism.rooms.camera import STEREO_BASELINE
from taskprism.rooms.classes import Thing
from taskprism.rooms.labels import RoomImage, edges, salient_instance
from taskprism.rooms.materials import albedo
from taskprism.rooms.photograph import expose, srgb
from taskprism.rooms.scene import Scene, sample_scene
from taskprism.rooms.shading import light_reaching, radiance
from taskprism.rooms.solids import FACES
from taskprism.rooms.surfaces import Surface, visible_surface
from taskprism.rooms.tracing import Rays, first_hits

GENERATOR_VERSION = 1
"""Raised whenever a seed gives other pixels than before."""

SMALLEST_SIDE, LARGEST_SIDE = 8, 4096
"""Bounds of an image's height and width in pixels. The largest image takes several GB to render."""

# Offsets of three more rays for pixels at an edge, from the center of the pixel.
_EXTRA = ((-0.33, -0.12), (0.06, 0.34), (0.27, -0.22))
_NEIGHBORS = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
_NEVER_SALIENT = (Thing.WALL, Thing.FLOOR, Thing.CEILING, Thing.WINDOW, Thing.DOOR)


def render_room(seed: int, size: tuple[int, int]) -> RoomImage:
    """Render the room of a seed.

    The same seed and size give the same bits on every machine with IEEE 754 arithmetic. Another
    size shows the same room with the same horizontal field of view.

    Args:
        seed: Any non-negative integer.
        size: ``(H, W)`` in pixels, each from 8 to 4096.

    Raises:
        InputError: The seed or the size is not an integer or is out of range.

    Example:
        >>> from taskprism.rooms import render_room
        >>> room = render_room(7, size=(48, 64))
        >>> room.image.shape, room.image.dtype.name
        ((48, 64, 3), 'uint8')
    """
    seed = check_integer("render_room", "seed", seed, 0)
    size = check_image_size("render_room", "size", size)
    with np.errstate(all="ignore"):  # rays that miss divide by zero
        return _render(sample_scene(seed), size)


def check_image_size(owner: str, option: str, value: Any) -> tuple[int, int]:
    """Return ``value`` as ``(H, W)``, each from ``SMALLEST_SIDE`` to ``LARGEST_SIDE`` pixels.

    Raises:
        InputError: It is not; the message names the owner and the option.

    Example:
        >>> from taskprism.rooms.render import check_image_size
        >>> check_image_size("Rooms", "size", [48, 64])
        (48, 64)
    """
    size = check_size(owner, option, value)
    for index, side in enumerate(size):
        check_integer(owner, f"{option}[{index}]", side, SMALLEST_SIDE, LARGEST_SIDE)
    return size


def _render(scene: Scene, size: tuple[int, int]) -> RoomImage:
    table, camera = scene.solids, scene.camera
    focal = camera.focal(size[1])
    rays = Rays.of_pixels(camera, size)
    depth, solid = first_hits(table, camera, size, rays)
    seen = visible_surface(
        table, camera, focal, rays.directions.reshape(3, -1), depth.ravel(), solid.ravel()
    )
    face = seen.face.reshape(size)
    instance = table.instance[face]
    normals = np.stack(
        [
            dot(axis, seen.normal).reshape(size)
            for axis in (camera.frame.x, camera.frame.y, camera.frame.z)
        ],
        axis=-1,
    ).astype(np.float32)
    edge, both_sides = edges(instance, face, depth, normals)

    reflectance = albedo(scene.materials, seen.spots)
    openness = light_reaching(scene, seen, face)
    light = radiance(scene, seen, reflectance, openness)
    light = _antialiased(scene, seen, face, both_sides, light, openness)
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


def _antialiased(
    scene: Scene,
    seen: Surface,
    face: np.ndarray,
    both_sides: np.ndarray,
    light: np.ndarray,
    openness: np.ndarray,
) -> np.ndarray:
    """Average the pixels on both sides of an edge over three more rays."""
    row, column = np.nonzero(both_sides)
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
    extra = visible_surface(table, camera, camera.focal(size[1]), directions, depth, hit)
    source = _same_face_nearby(face, extra.face, rows, columns)
    reflectance = albedo(scene.materials, extra.spots)
    more = radiance(scene, extra, reflectance, openness[:, source])
    at = row * size[1] + column
    mixed = light.copy()
    total = ((light[:, at] + more[:, 0::3]) + more[:, 1::3]) + more[:, 2::3]
    mixed[:, at] = total * np.float32(0.25)
    return mixed


def _same_face_nearby(
    face: np.ndarray, wanted: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Flat index of a pixel at or next to each position that shows the wanted face.

    Where none does, it is the pixel at the position.
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
