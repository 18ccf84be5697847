"""Finds a place for the camera from which there is something to see."""

from __future__ import annotations

import numpy as np

from taskprism.rooms.arithmetic import Vec, radians
from taskprism.rooms.camera import Camera
from taskprism.rooms.dice import Dice
from taskprism.rooms.plan import Plan
from taskprism.rooms.solids import SolidTable

_CANDIDATES = 14
_GRID = (6, 8)  # rays that judge a view


def choose_camera(table: SolidTable, plan: Plan, dice: Dice) -> Camera:
    """The best of some random viewpoints: many things in view, none of them filling it."""
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
    """A camera looking at a place around the middle of the room."""
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
    """How much there is to see, and whether the camera stands free."""
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
