"""Ray casting compared with a walk along the rays."""

import numpy as np
import pytest

from reference.rooms_by_points import first_inside, something_between
from taskprism.rooms import scene as scene_module
from taskprism.rooms.arithmetic import Dice
from taskprism.rooms.camera import Frame
from taskprism.rooms.solids import Shape, Solid, pack
from taskprism.rooms.tracing import Rays, blocked, first_hits, inside_room, interval, transform

SIZE = (30, 40)


def random_frame(dice, origin):
    frame = Frame(origin)
    for axis in ("x", "y", "z"):
        frame = frame.turned(axis, dice.uniform(0.0, 6.0))
    return frame


def random_solid(dice, shape, group):
    origin = (dice.uniform(-1.0, 1.0), dice.uniform(-1.0, 1.0), dice.uniform(0.5, 1.5))
    half = tuple(dice.uniform(0.1, 0.4) for _ in range(3))
    taper = dice.uniform(-0.95, 0.95) if shape is Shape.FRUSTUM else 0.0
    return Solid(shape, random_frame(dice, origin), half, taper, 0, group, 3, 0, True)


@pytest.mark.parametrize("shape", list(Shape))
def test_interval_matches_points_inside_the_shape(shape):
    dice = Dice(3, int(shape))
    step, missed, entered = 1e-3, 0, 0
    for _ in range(120):
        origin = np.array([dice.uniform(-3.0, 3.0) for _ in range(3)])
        target = np.array([dice.uniform(-1.6, 1.6) for _ in range(3)])
        way = target - origin
        taper = dice.uniform(-0.9, 0.9) if shape is Shape.FRUSTUM else 0.0
        if shape is Shape.FRUSTUM and dice.chance(0.4):  # steeper than the mantle
            way = np.array([dice.bell(0.1), dice.bell(0.1), -np.sign(origin[2])])
            origin = np.array([dice.bell(0.5), dice.bell(0.5), origin[2]])
        t = np.arange(0.0, 8.0, step)
        p = origin[:, None] + way[:, None] * t
        if shape is Shape.BOX:
            inside = np.abs(p).max(axis=0) <= 1
        elif shape is Shape.ELLIPSOID:
            inside = (p**2).sum(axis=0) <= 1
        else:
            inside = (np.abs(p[2]) <= 1) & (np.hypot(p[0], p[1]) <= 1 + taper * p[2])
        with np.errstate(all="ignore"):
            near, far = interval(
                shape, list(origin[:, None]), list(way[:, None]), np.array([taper])
            )
        if inside.any() and t[inside][0] > 0:
            entered += 1
            assert near[0] == pytest.approx(t[inside][0], abs=2 * step)
            assert far[0] == pytest.approx(t[inside][-1], abs=2 * step)
        elif not inside.any():
            missed += 1
            assert not (near < far) or far < 0 or near > 8.0 or far - near < 3 * step
    assert missed > 5
    assert entered > 20


def test_transform_is_a_matrix_product():
    matrix = np.arange(9.0) + 1
    got = transform(matrix, np.array([1.0, -2.0, 3.0]))
    assert np.allclose(got, matrix.reshape(3, 3) @ [1.0, -2.0, 3.0])


@pytest.fixture(scope="module")
def furnished():
    """Scenes with their own lists of solids, in the order of the table."""
    made = []
    for seed in (0, 8):
        kept = {}

        def remember(room, materials, solids, kept=kept):
            kept["solids"] = sorted(solids, key=lambda s: (s.group, not s.casts_shadow, s.shape))
            kept["room"] = room
            return pack(room, materials, solids)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scene_module, "pack", remember)
            scene = scene_module.sample_scene(seed)
        made.append((scene, kept["solids"], kept["room"]))
    return made


def test_first_hits_match_a_walk_along_the_rays(furnished):
    step = 2e-3
    for scene, solids, room in furnished:
        rays = Rays.of_pixels(scene.camera, SIZE)
        with np.errstate(all="ignore"):
            depth, solid = first_hits(scene.solids, scene.camera, SIZE, rays)
        random = np.random.default_rng(0)
        agree = 0
        for row, column in zip(random.integers(0, 30, 60), random.integers(0, 40, 60), strict=True):
            origin, direction = scene.camera.frame.origin, rays.directions[:, row, column]
            t, found = first_inside(solids, room, origin, direction, step)
            near = abs(t - depth[row, column]) < 2 * step
            agree += near and found + 1 == solid[row, column]
        assert agree >= 56  # a walk misses thin edges and finds touching solids in any order


def test_listed_rays_hit_the_same_as_pixels(furnished):
    scene, _, _ = furnished[0]
    rays = Rays.of_pixels(scene.camera, SIZE)
    rows, columns = np.nonzero(np.random.default_rng(1).random(SIZE) < 0.2)
    with np.errstate(all="ignore"):
        depth, solid = first_hits(scene.solids, scene.camera, SIZE, rays)
        some = Rays(rays.directions[:, rows, columns], rows)
        listed = first_hits(scene.solids, scene.camera, SIZE, some)
    assert np.array_equal(listed[0], depth[rows, columns])
    assert np.array_equal(listed[1], solid[rows, columns])


def test_blocked_matches_a_walk_along_the_segments():
    dice = Dice(11)
    shapes = list(Shape) * 4
    solids = [random_solid(dice, shape, group=k // 3) for k, shape in enumerate(shapes)]
    table = pack((4.0, 4.0, 3.0), (0,) * 6, solids)
    starts = np.array([[dice.uniform(-1.9, 1.9) for _ in range(3)] for _ in range(150)]) * (1, 1, 0)
    ends = np.array([[dice.uniform(-1.9, 1.9) for _ in range(3)] for _ in range(150)]) * (1, 1, 0)
    ends += (0.0, 0.0, 2.9)
    starts += (0.0, 0.0, 0.01)
    with np.errstate(all="ignore"):
        dark = blocked(table, starts.T.astype(np.float32), (ends - starts).T.astype(np.float32))
    expected = [something_between(solids, a, b, 2e-3) for a, b in zip(starts, ends, strict=True)]
    assert 20 < dark.sum() < 140
    assert (dark == expected).sum() >= 148


def test_only_solids_that_cast_shadows_block():
    solid = random_solid(Dice(1), Shape.ELLIPSOID, 0)
    above = np.array([0.0, 0.0, 1.0])
    through = [np.array(solid.frame.origin) + s * above for s in (-1.0, 1.0)]
    start, way = through[0][:, None].astype(np.float32), (through[1] - through[0])[:, None]
    way = way.astype(np.float32)
    for casts in (True, False):
        own = Solid(solid.shape, solid.frame, solid.half, 0.0, 0, 0, 3, 0, casts)
        with np.errstate(all="ignore"):
            dark = blocked(pack((4.0, 4.0, 3.0), (0,) * 6, [own]), start, way)
        assert bool(dark[0]) is casts


def test_inside_room_per_axis():
    table = pack((4.0, 6.0, 3.0), (0,) * 6, [])
    origin = np.zeros((3, 4), np.float32) + np.array([[0], [0], [1]], np.float32)
    way = np.array([[1.9, 2.1, 0, 0], [0, 0, 2.9, 0], [0, 0, 0, -1.1]], np.float32)
    assert inside_room(table, origin, way).tolist() == [True, False, True, False]
