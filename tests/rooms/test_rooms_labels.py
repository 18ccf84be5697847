"""Edges and saliency on small hand-made images."""

import numpy as np

from taskprism.rooms.labels import edges, salient_instance


def flat(shape, depth=2.0):
    normals = np.zeros((*shape, 3), np.float32)
    normals[..., 2] = 1
    zeros = np.zeros(shape, np.int32)
    return zeros, zeros.copy(), np.full(shape, depth, np.float32), normals


def test_outline_lies_on_the_thing_in_front():
    instance, face, depth, normals = flat((8, 8))
    instance[2:6, 2:6] = face[2:6, 2:6] = 1
    depth[2:6, 2:6] = 1.0
    edge, both_sides = edges(instance, face, depth, normals)
    outline = np.zeros((8, 8), bool)
    outline[2:6, 2:6] = True
    outline[3:5, 3:5] = False
    assert np.array_equal(edge, outline)
    assert both_sides[1, 2:6].all()
    assert not both_sides[0].any()


def test_outline_of_a_hole_lies_around_it():
    instance, face, depth, normals = flat((8, 8))
    instance[3:5, 3:5] = face[3:5, 3:5] = 1
    depth[3:5, 3:5] = 4.0
    edge, _ = edges(instance, face, depth, normals)
    assert not edge[3:5, 3:5].any()
    assert edge[2, 3:5].all()
    assert edge.sum() == 8


def test_touching_things_have_an_edge_on_one_side():
    instance, face, depth, normals = flat((6, 6))
    diagonal = np.add.outer(np.arange(6), np.arange(6)) > 5
    instance[diagonal] = face[diagonal] = 1
    edge, _ = edges(instance, face, depth, normals)
    assert not edge[~diagonal].any()
    assert edge.sum() == 5


def test_creases_need_more_than_30_degrees():
    for degrees, expected in ((20, False), (40, True)):
        instance, face, depth, normals = flat((4, 6))
        face[:, 3:] = 1
        normals[:, 3:] = (np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees)))
        edge, _ = edges(instance, face, depth, normals)
        assert edge.any() == expected
        assert edge.sum() == 4 * expected


def test_round_surfaces_have_no_creases():
    instance, face, depth, normals = flat((4, 6))
    angle = np.linspace(0, np.pi / 2, 6)
    normals[..., 0], normals[..., 2] = np.sin(angle), np.cos(angle)
    assert not edges(instance, face, depth, normals)[0].any()


def test_a_thing_can_occlude_itself():
    instance, face, depth, normals = flat((4, 6))
    face[:, 3:] = 1
    depth[:, 3:] = 3.0
    edge, _ = edges(instance, face, depth, normals)
    assert np.array_equal(np.nonzero(edge.any(axis=0))[0], [2])


def test_slanted_surface_has_no_edge():
    instance, face, depth, normals = flat((4, 12))
    face[:, 6:] = 1
    depth[:] = 1.15 ** np.arange(12)
    assert not edges(instance, face, depth, normals)[0].any()


def picture(places, size=(40, 60)):
    """Gray picture with rectangles ``(rows, columns, color)`` of instances 1, 2, ..."""
    image = np.full((*size, 3), 128, np.uint8)
    instance = np.zeros(size, np.int16)
    for number, (rows, columns, color) in enumerate(places, 1):
        image[rows, columns] = color
        instance[rows, columns] = number
    return image, instance, np.array([False] + [True] * len(places))


def test_saliency_depends_on_contrast_size_and_position():
    middle, corner = (slice(15, 25), slice(25, 35)), (slice(8, 18), slice(8, 18))
    small = (slice(28, 32), slice(28, 32))
    red, pale = (220, 20, 20), (140, 128, 128)
    assert salient_instance(*picture([(*middle, red), (*corner, red)])) == 1
    assert salient_instance(*picture([(*middle, pale), (*corner, red)])) == 2
    assert salient_instance(*picture([(*small, red), (*middle, red)])) == 2


def test_tiny_and_ineligible_things_are_not_salient():
    image, instance, eligible = picture([(slice(0, 2), slice(0, 2), (255, 0, 0))])
    assert salient_instance(image, instance, eligible) is None
    image, instance, eligible = picture([(slice(10, 30), slice(10, 30), (255, 0, 0))])
    assert salient_instance(image, instance, np.zeros_like(eligible)) is None
