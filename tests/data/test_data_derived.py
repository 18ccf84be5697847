"""Normals from depth and boundaries from segments, on known surfaces."""

import numpy as np
import pytest

from taskprism.data.derived import edges_from_depth, edges_from_segments, normals_from_depth

HEIGHT, WIDTH = 40, 56
FOCAL, CENTER = (60.0, 58.0), (26.3, 19.1)


def plane_depth(normal, distance):
    """Depth of the plane ``normal . X = -distance``; normal is right, up, toward."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack(
        [(columns - CENTER[0]) / FOCAL[0], -(rows - CENTER[1]) / FOCAL[1], -np.ones_like(rows)], 2
    )
    return -distance / (rays @ normal)


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.6, 0, 0.8), (0, 0.8, 0.6), (-0.36, 0.48, 0.8)])
def test_planes_are_found_exactly(normal):
    depth = plane_depth(np.array(normal, dtype=float), 2.0)
    depth[(depth < 0) | (depth > 30)] = 0
    normals, valid = normals_from_depth(depth, FOCAL, CENTER, radius=3, tolerance=0.2)
    assert valid.mean() > 0.5
    assert not valid[depth == 0].any()
    assert not normals[~valid].any()
    angle = np.degrees(np.arccos((normals[valid] @ normal).clip(-1, 1)))
    assert angle.max() < 0.1


def test_neighboring_surface_does_not_affect_the_fit():
    depth = plane_depth(np.array([0, 0, 1.0]), 2.0)
    slanted = plane_depth(np.array([0.6, 0, 0.8]), 4.0)
    depth[:, 28:] = slanted[:, 28:]
    normals, valid = normals_from_depth(depth, FOCAL, CENTER, radius=3, tolerance=0.15)
    assert valid.all()
    assert np.abs(normals[:, 25] - [0, 0, 1]).max() < 0.01
    assert np.abs(normals[:, 31] - [0.6, 0, 0.8]).max() < 0.01


def test_noise_in_inverse_depth_averages_out():
    normal = np.array([0, 0.8, 0.6])
    depth = plane_depth(normal, 2.0)
    depth[(depth < 0) | (depth > 8)] = 0
    noise = np.random.default_rng(0).normal(0, 5e-4, depth.shape)
    noisy = np.where(depth > 0, 1 / (1 / np.where(depth > 0, depth, 1) + noise), 0)
    normals, valid = normals_from_depth(noisy, FOCAL, CENTER, radius=5, tolerance=0.3)
    angle = np.degrees(np.arccos((normals[valid] @ normal).clip(-1, 1)))
    assert angle.mean() < 1


def test_nothing_to_fit_gives_no_normals():
    normals, valid = normals_from_depth(np.zeros((9, 9)), FOCAL, CENTER)
    assert not valid.any()
    assert not normals.any()
    lone = np.zeros((9, 9))
    lone[4, 4] = np.nan
    lone[2, 2] = 1
    assert not normals_from_depth(lone, FOCAL, CENTER)[1].any()
    masked = normals_from_depth(np.ones((20, 20)), FOCAL, CENTER, np.zeros((20, 20), bool))[1]
    assert not masked.any()


def test_a_boundary_is_one_pixel_wide():
    segments = np.ones((20, 30), dtype=int)
    segments[:, 15:] = 2
    edges = edges_from_segments(segments)
    assert (edges[2:-2].sum(axis=1) == 1).all()  # thinning may take an end
    assert set(np.nonzero(edges)[1]) <= {14, 15}


def test_a_gap_between_objects_is_one_boundary():
    segments = np.ones((20, 30), dtype=int)
    segments[:, 12:] = 2
    segments[:, 10:14] = 0
    edges = edges_from_segments(segments)
    assert (edges[2:-2].sum(axis=1) == 1).all()  # thinning may take an end
    assert set(np.nonzero(edges)[1]) <= {11, 12}


def test_large_holes_have_no_boundary():
    segments = np.ones((40, 40), dtype=int)
    segments[:, 10:] = 0
    assert not edges_from_segments(segments, gap=5).any()
    assert not edges_from_segments(np.zeros((5, 5), dtype=int)).any()
    assert not edges_from_segments(np.ones((5, 5), dtype=int)).any()


def test_depth_jumps_are_boundaries_and_slopes_are_not():
    depth = np.full((30, 40), 2.0)
    depth[:, 20:] = 3.0 + 0.02 * np.arange(20)
    edges, seen = edges_from_depth(depth)
    assert seen.all()
    assert (edges.sum(axis=1)[1:-1] == 1).all()
    assert set(np.nonzero(edges)[1]) == {19}
    assert not edges_from_depth(depth, jump=0.4)[0].any()


def test_a_strip_without_depth_is_bridged_up_to_a_gap():
    depth = np.full((30, 60), 2.0)
    depth[:, 20:] = 3.0
    depth[:, 20:24] = np.nan  # seen by one camera only
    depth[:, 40:] = 0
    edges, seen = edges_from_depth(depth, gap=5)
    assert set(np.nonzero(edges)[1]) == {21}
    assert seen[:, :45].all()
    assert not seen[:, 45:].any()
    masked, seen = edges_from_depth(depth, np.zeros(depth.shape, dtype=bool))
    assert not masked.any()
    assert not seen.any()
