"""Furniture, mannequins, floor plans and cameras."""

import math

import numpy as np
import pytest

from taskprism.rooms.arithmetic import Dice
from taskprism.rooms.builder import Builder
from taskprism.rooms.camera import Camera, Frame
from taskprism.rooms.classes import Part, Thing
from taskprism.rooms.furniture import Cabinet, Chair, Shelf, Sofa, Table
from taskprism.rooms.mannequins import add_seated_mannequin, add_standing_mannequin
from taskprism.rooms.plan import Footprint, Plan
from taskprism.rooms.scene import sample_scene
from taskprism.rooms.solids import Shape, pack

ROOM = (5.0, 6.0, 2.6)


def built(build):
    builder = Builder()
    build(builder)
    return builder.solids, pack(ROOM, (0,) * 6, builder.solids).corners[:, :, 1:]


def lowest(table, k):
    """Height of the lowest point of a solid."""
    matrix = table.matrix[:, k].reshape(3, 3)
    half = table.half[:, k]
    arms = matrix[:, 2] * half * half  # axis_z * half
    if table.shape[k] == Shape.ELLIPSOID:
        reach = np.linalg.norm(arms)
    elif table.shape[k] == Shape.FRUSTUM:
        reach = np.linalg.norm(arms[:2]) * (1 + abs(table.taper[k])) + abs(arms[2])
    else:
        reach = np.abs(arms).sum()
    return table.center[2, k] - reach


@pytest.mark.parametrize("seed", range(12))
def test_furniture_and_camera_are_inside_the_room(seed):
    scene = sample_scene(seed)
    w, d, h = (2 * half for half in scene.solids.inside)
    centers = scene.solids.center[:, 1:]
    assert (np.abs(centers[0]) < w + 0.1).all()
    assert (centers[2] > -0.01).all()
    assert (centers[2] < h + 0.05).all()
    assert min(lowest(scene.solids, k) for k in range(1, centers.shape[1] + 1)) > -0.03
    for group in scene.solids.groups:
        assert abs(group.low[0] + group.high[0]) / 2 < w / 2
        assert abs(group.low[1] + group.high[1]) / 2 < d / 2
    x, y, z = scene.camera.frame.origin
    assert abs(x) < w / 2 - 0.2
    assert abs(y) < d / 2 - 0.2
    assert 0.9 < z < h
    assert scene.lamps or scene.sun  # never dark
    assert len(scene.lamps) <= 4


@pytest.mark.parametrize("piece", [Chair, Table, Sofa, Cabinet, Shelf])
def test_pieces_stay_within_their_size(piece):
    for seed in range(15):
        dice = Dice(seed)
        made = piece.random(dice)
        _, corners = built(lambda b, made=made, dice=dice: made.build(b, Frame(), dice))
        assert corners[2].min() == pytest.approx(0, abs=0.03)  # stands on the floor
        assert np.abs(corners[0]).max() < made.width / 2 + 0.08
        assert np.abs(corners[1]).max() < made.depth / 2 + 0.25  # a chair's back leans
        assert corners[2].max() < made.height + 0.6  # with objects on top


def limbs(solids, part):
    return [s for s in solids if s.part == part]


def distance(a, b):
    return math.dist(a.frame.origin, b.frame.origin)


@pytest.mark.parametrize("pose", ["stand", "sit"])
def test_mannequins_are_connected_and_touch_the_floor(pose):
    for seed in range(20):
        height = 1.6 + 0.015 * seed

        def build(builder, seed=seed, height=height):
            if pose == "stand":
                add_standing_mannequin(builder, Frame().turned("z", seed), height, Dice(seed))
            else:
                add_seated_mannequin(builder, Frame((0.0, 0.0, 0.45)), height, Dice(seed))

        solids, corners = built(build)
        assert {s.part for s in solids} == set(Part) - {Part.BACKGROUND}
        assert {len(limbs(solids, p)) for p in (Part.UPPER_ARM, Part.UPPER_LEG)} == {6}
        assert -0.02 * height < corners[2].min() < 0.06 * height
        top = corners[2].max() if pose == "stand" else 0
        assert top < height * 1.3  # an arm may be raised
        head = max(s.frame.origin[2] + s.half[2] for s in limbs(solids, Part.HEAD))
        full = height if pose == "stand" else 0.45 + 0.5 * height
        assert 0.87 * full < head < 1.05 * full  # a stride lowers the body
        # the far joint of an upper limb is the near joint of a lower limb
        for upper, lower in (
            (Part.UPPER_ARM, Part.LOWER_ARM),
            (Part.UPPER_LEG, Part.LOWER_LEG),
        ):
            gaps = [min(distance(a, b) for b in limbs(solids, upper)) for a in limbs(solids, lower)]
            assert sorted(gaps)[1] < 1e-9


def test_solids_of_a_thing_share_its_number():
    builder = Builder()
    add_standing_mannequin(builder, Frame(), 1.7, Dice(0))
    assert builder.things[3:] == [Thing.PERSON]
    assert {s.instance for s in builder.solids} == {3}


def test_gap_is_negative_for_overlapping_footprints():
    dice = Dice(5)
    for _ in range(200):
        a, b = (
            Footprint.of(
                Frame((dice.uniform(0, 2), dice.uniform(0, 2), 0)).turned("z", dice.uniform(0, 6)),
                dice.uniform(0.2, 1.5),
                dice.uniform(0.2, 1.5),
            )
            for _ in range(2)
        )
        points = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1)
        u, v = points[..., 0] * a.half_width, points[..., 1] * a.half_depth
        x, y = a.x + a.cos * u - a.sin * v - b.x, a.y + a.sin * u + a.cos * v - b.y
        inside = (np.abs(b.cos * x + b.sin * y) < b.half_width) & (
            np.abs(b.cos * y - b.sin * x) < b.half_depth
        )
        assert not (inside.any() and a.gap(b) > 0)
        assert a.gap(b) == pytest.approx(b.gap(a))


def test_plan_accepts_only_free_footprints():
    plan = Plan(4.0, 5.0, 2.5)
    assert plan.fits(Footprint(0.0, 0.0, 1.9, 2.4, 1.0, 0.0), 0.1)
    assert not plan.fits(Footprint(0.0, 0.0, 1.9, 2.4, 0.0, 1.0), 0.1)
    plan.footprints.append(Footprint(0.0, 0.0, 0.5, 0.5, 1.0, 0.0))
    assert not plan.fits(Footprint(1.0, 0.0, 0.45, 0.45, 1.0, 0.0), 0.1)
    assert plan.fits(Footprint(1.0, 0.0, 0.35, 0.35, 1.0, 0.0), 0.1)
    assert plan.clearance((1.5, 0.0, 1.0)) == pytest.approx(0.5)
    for wall in plan.walls:
        x, y, _ = wall.frame.moved(0.0, 0.1, 0.0).origin  # y points out of the room
        assert abs(x) > 2.0 or abs(y) > 2.5


def test_camera_projects_and_casts_rays_consistently():
    camera = Camera.looking((1.0, 2.0, 1.5), math.pi / 2, 0.0, 0.0, 90.0)
    assert camera.focal(200) == pytest.approx(100)
    points = np.array([[-3.0, 2.0, 1.5], [-3.0, 3.0, 1.5], [-3.0, 2.0, 2.5]]).T  # ahead, right, up
    columns, rows, depth = camera.project(points, (100, 200))
    assert depth == pytest.approx([4, 4, 4])
    assert columns == pytest.approx([100, 125, 100])
    assert rows == pytest.approx([50, 50, 25])
    rays = camera.directions(columns, rows, (100, 200))
    assert np.allclose(np.array([[1.0], [2.0], [1.5]]) + rays * depth, points, atol=1e-5)
