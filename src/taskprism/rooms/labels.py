"""A rendered room with its labels, and the definitions of edges and saliency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CREASE_COSINE = 0.866
"""Two faces form a crease if the cosine between their normals is below this (30 degrees)."""

DEPTH_STEP = 0.04
"""Relative depth jump that counts as an occlusion edge within one thing."""

MIN_SALIENT = 0.004
"""Smallest fraction of the image that a salient thing covers."""


@dataclass(frozen=True)
class RoomImage:
    """An image of a room and its labels, sampled at pixel centers.

    Attributes:
        image: uint8 ``(H, W, 3)``, sRGB.
        semseg: uint8 ``(H, W)``, index into ``CLASS_NAMES``.
        depth: float32 ``(H, W)``, meters along the optical axis.
        normals: float32 ``(H, W, 3)``, unit; x right, y up, z toward the camera.
        edge: Boolean ``(H, W)``, occlusion and crease edges, one pixel wide; see :func:`edges`.
        saliency: Boolean ``(H, W)``, the most salient thing (:func:`salient_instance`); None if
            nothing is salient.
        human_parts: uint8 ``(H, W)``, index into ``PART_NAMES``; None without a mannequin in view.
        albedo: float32 ``(H, W, 3)``, reflectance as an sRGB code in [0, 1].
        albedo_valid: Boolean ``(H, W)``; False on surfaces that emit light.
        disparity: float32 ``(H, W)``, pixels, ``STEREO_BASELINE * focal / depth``.
        instance: int16 ``(H, W)``, number of the thing within the room.
        face: int32 ``(H, W)``, number of the smooth face within the room.
        focal: Focal length in pixels; the principal point is the center of the image.

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


def edges(
    instance: np.ndarray, face: np.ndarray, depth: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Occlusion and crease edges, one pixel wide.

    There is an edge between two horizontal or vertical neighbors of different things, of different
    faces that form a crease, or of different faces whose depths differ by more than ``DEPTH_STEP``
    and more than the slant of the surface explains. The pixel in front is marked, so that an
    outline lies on the thing it belongs to. Where neither is in front, the pixel with the higher
    face number is marked, so that a line stays on one side.

    Args:
        instance: ``(H, W)`` number of the thing.
        face: ``(H, W)`` number of the face.
        depth: ``(H, W)`` meters.
        normals: ``(H, W, 3)`` unit.

    Returns:
        The edges, boolean ``(H, W)``, and the pixels on both of their sides.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.labels import edges
        >>> thing = np.array([[0, 0, 1, 1]] * 2)
        >>> depth = np.where(thing == 1, 1.0, 3.0)
        >>> normals = np.broadcast_to([0.0, 0.0, 1.0], (2, 4, 3))
        >>> edges(thing, thing, depth, normals)[0][0].tolist()
        [False, False, True, False]
    """
    marked = np.zeros(instance.shape, np.bool_)
    both_sides = np.zeros(instance.shape, np.bool_)
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
        both_sides[a] |= between
        both_sides[b] |= between
    return marked, both_sides


def _slant(depth: np.ndarray, axis: int) -> np.ndarray:
    """The smaller depth difference of the pairs before and after each pair of neighbors."""
    difference = np.abs(np.diff(depth, axis=axis))
    pad = [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)]
    wide = np.pad(difference, pad, mode="edge")
    length = difference.shape[axis]
    before = wide[:length] if axis == 0 else wide[:, :length]
    after = wide[2:] if axis == 0 else wide[:, 2:]
    return np.minimum(before, after)


def salient_instance(image: np.ndarray, instance: np.ndarray, eligible: np.ndarray) -> int | None:
    """Find the most salient thing.

    The score of an eligible thing that covers at least ``MIN_SALIENT`` of the image is

        area / (area + 0.03) * (0.1 + contrast) * (1 - distance)^2

    where ``area`` is the fraction of the image it covers, ``contrast`` the distance of its mean
    sRGB color from the mean of the image (in [0, sqrt(3)]), and ``distance`` its mean squared
    distance from the center (1 in the corners).

    Args:
        image: uint8 ``(H, W, 3)``.
        instance: ``(H, W)`` number of the thing.
        eligible: Boolean ``(things,)``.

    Returns:
        Number of the thing, or None if there is none.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.labels import salient_instance
        >>> instance = np.zeros((20, 20), np.int16)
        >>> instance[8:12, 8:12] = 1
        >>> image = np.full((20, 20, 3), 90, np.uint8)
        >>> image[8:12, 8:12] = 255
        >>> salient_instance(image, instance, np.array([False, True]))
        1
    """
    height, width = instance.shape
    flat = instance.ravel()
    things = len(eligible)
    count = np.bincount(flat, minlength=things)
    size = np.maximum(count, 1)
    # sums of integers do not depend on the order of additions
    y = (2 * np.arange(height, dtype=np.int64) + 1 - height) ** 2
    x = (2 * np.arange(width, dtype=np.int64) + 1 - width) ** 2
    squares = (y[:, None] * width * width + x[None, :] * height * height).ravel()
    distance = np.bincount(flat, squares, things) / size / (2.0 * height * height * width * width)
    contrast = np.zeros(things)
    for channel in range(3):
        code = image[:, :, channel].ravel()
        mean = int(code.sum(dtype=np.int64)) / code.size
        difference = (np.bincount(flat, code, things) / size - mean) / 255.0
        contrast += difference * difference
    share = count / flat.size
    score = share / (share + 0.03) * (0.1 + np.sqrt(contrast)) * (1.0 - distance) * (1.0 - distance)
    score[~(eligible & (share >= MIN_SALIENT))] = 0.0
    best = int(np.argmax(score))
    return best if score[best] > 0.0 else None
