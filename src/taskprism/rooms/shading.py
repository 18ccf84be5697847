"""Light on surfaces: lamps, the sun and ambient light, with their shadows.

Every light has ``SAMPLES`` sample points. A pixel tests one of them (:func:`sample_numbers`) and
:func:`smoothed` averages the tests of its neighbors on the same face, which gives soft shadows.
"""

from __future__ import annotations

import numpy as np

from taskprism.rooms.arithmetic import dot
from taskprism.rooms.lights import Lamp, Sun, ball_samples
from taskprism.rooms.scene import Scene
from taskprism.rooms.solids import SolidTable
from taskprism.rooms.surfaces import Surface
from taskprism.rooms.tracing import blocked, inside_room

_OFF = np.float32(3e-3)  # distance above the surface at which shadow rays start, meters
_BLOCK = 1 << 14  # rays at once: intermediate arrays stay in the cache
_FAR = np.float32(30.0)  # meters, longer than any room
_SHINE = 5  # the highlight is a cosine to the power of 2 ** 5

# 4 x 4 ordered dither: any 4 x 4 pixels hold every number once, neighbors hold distant numbers
_DITHER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_TENT = (0.5, 1.0, 1.0, 1.0, 0.5)  # gives each of the 16 numbers the same weight


def light_reaching(scene: Scene, at: Surface, face: np.ndarray) -> np.ndarray:
    """Fraction of the ambient light, of each lamp and of the sun that reaches each pixel.

    Returns:
        float32 ``(1 + lamps + suns, H * W)``, in [0, 1].
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


def radiance(
    scene: Scene, at: Surface, reflectance: np.ndarray, openness: np.ndarray
) -> np.ndarray:
    """Reflected and emitted light, float32 ``(6, N)``: RGB of each."""
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
    for (color, light, toward), free in zip(sources, openness[1:], strict=True):
        light *= free
        shine = light * highlight(at, toward, gloss)
        for k in range(3):
            result[k] += np.float32(color[k]) * (light * reflectance[k] + shine)
    return result


def sample_numbers(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Number of the light sample that a pixel tests.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.shading import sample_numbers
        >>> sample_numbers(np.array([0, 0, 1]), np.array([0, 1, 1])).tolist()
        [0, 8, 4]
    """
    return _DITHER[rows % 4, columns % 4]


def lamp_light(at: Surface, lamp: Lamp) -> tuple[np.ndarray, np.ndarray]:
    """Light from the middle of a lamp, without shadows.

    Returns:
        Irradiance per unit of intensity ``(N,)`` and the vector to the lamp ``(3, N)``.
    """
    middle = lamp.middle
    toward = np.stack([np.float32(middle[k]) - at.point[k] for k in range(3)])
    square = np.maximum(dot(toward, toward), np.float32(0.04))
    inverse = 1.0 / np.sqrt(square)
    light = np.maximum(dot(at.normal, toward), 0.0) * inverse / square
    if lamp.facing is not None:
        light *= np.maximum(-dot(lamp.facing, toward), 0.0) * inverse
    return light, toward


def sun_light(at: Surface, sun: Sun) -> tuple[np.ndarray, np.ndarray]:
    """Light of the sun, without walls and shadows; returns as :func:`lamp_light`."""
    toward = np.stack([np.full(at.depth.shape, x, np.float32) for x in sun.direction])
    return np.maximum(dot(at.normal, toward), 0.0), toward


def lamp_visible(table: SolidTable, at: Surface, lamp: Lamp, number: np.ndarray) -> np.ndarray:
    """Whether the numbered sample of the lamp is visible from each point, boolean ``(N,)``."""
    segment = lamp.places.T[:, number] - at.point
    return _visible(table, at, segment, dot(at.normal, segment) > 0.0)


def sun_visible(table: SolidTable, at: Surface, sun: Sun, number: np.ndarray) -> np.ndarray:
    """Whether the numbered sample of the sun shines through a window onto each point."""
    toward = sun.places.T[:, number]
    enters = np.zeros(number.shape, np.bool_)
    for opening in sun.openings:
        frame = opening.frame
        offset = [np.float32(frame.origin[k]) - at.point[k] for k in range(3)]
        speed = dot(frame.y, toward)
        steps = dot(frame.y, offset) / np.where(speed > 1e-3, speed, np.float32(1e9))
        place = [steps * toward[k] - offset[k] for k in range(3)]
        across, up = np.abs(dot(frame.x, place)), np.abs(dot(frame.z, place))
        enters |= (
            (speed > 1e-3)
            & (across < opening.half[0])
            & (up < opening.half[1])
            & (across > opening.bar)
            & (up > opening.bar)
        )
    return _visible(table, at, toward * _FAR, enters & (dot(at.normal, toward) > 0.0))


def openness(table: SolidTable, at: Surface, radius: float, number: np.ndarray) -> np.ndarray:
    """Ambient light from one direction around the normal: 1 if it is free for ``radius`` meters.

    The directions over the dither follow the cosine law. Walls block less light than furniture,
    because they reflect light. float32 ``(N,)``.
    """
    segment = at.normal + ball_samples().T.astype(np.float32)[:, number]
    segment *= np.float32(radius) / np.sqrt(dot(segment, segment) + np.float32(1e-6))
    free = _visible(table, at, segment, np.ones(number.shape, np.bool_)).astype(np.float32)
    walled = ~inside_room(table, at.point + at.normal * _OFF, segment)
    return np.where(walled, np.minimum(free, np.float32(0.45)), free)


def _visible(
    table: SolidTable, at: Surface, segment: np.ndarray, candidates: np.ndarray
) -> np.ndarray:
    """Whether the ends of the segments are visible; False outside of ``candidates``."""
    seen = np.zeros(candidates.shape, np.bool_)
    index = np.flatnonzero(candidates)
    for start in range(0, index.size, _BLOCK):
        some = index[start : start + _BLOCK]
        origin = at.point[:, some] + at.normal[:, some] * _OFF
        seen[some] = ~blocked(table, origin, segment[:, some])
    return seen


def smoothed(values: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Mean over the dither pattern, within the same face.

    Args:
        values: float32 ``(S, H, W)``, each from one light sample per pixel.
        face: int32 ``(H, W)``; pixels of other faces are left out of the mean.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.shading import smoothed
        >>> lit = np.ones((1, 4, 4), np.float32)
        >>> smoothed(lit, np.zeros((4, 4), np.int32))[0, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]
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


def highlight(at: Surface, toward: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """Blinn-Phong highlight per unit of irradiance, float32 ``(N,)``."""
    result = np.zeros_like(gloss)
    index = np.flatnonzero(gloss > 0.0)
    to, back, normal = toward[:, index], -at.direction[:, index], at.normal[:, index]
    half = to / np.sqrt(dot(to, to)) + back / np.sqrt(dot(back, back))
    cosine = np.maximum(dot(normal, half), 0.0) / np.sqrt(dot(half, half) + np.float32(1e-9))
    for _ in range(_SHINE):
        cosine = cosine * cosine
    result[index] = cosine * gloss[index]
    return result
