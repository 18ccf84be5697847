import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, spatial

from reference import boundaries as reference
from taskprism.metrics.boundaries import match
from taskprism.metrics.boundaries.bits import WORD, pack
from taskprism.metrics.boundaries.matching import ToleranceGraph, disc


def planes_of(masks):
    """Masks ``(K, H, W)`` as planes; they need not be nested."""
    masks = np.asarray(masks)
    count, height, width = masks.shape
    flat = masks.reshape(count, -1).T.astype(np.uint8)
    words = [pack(flat[:, start : start + WORD]) for start in range(0, count, WORD)]
    return np.stack(words).reshape(-1, height, width)


def random_masks(seed, count, height, width, density):
    return np.random.default_rng(seed).random((count, height, width)) < density


@pytest.mark.parametrize("radius", [0, 0.9, 1, 1.5, 2.3, 4.34, 7.7])
def test_disc_has_all_offsets_within_the_radius(radius):
    reach = range(-9, 10)
    expected = {(y, x) for y, x in itertools.product(reach, reach) if math.hypot(y, x) <= radius}
    rows, columns = disc(radius)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    assert (np.diff(np.hypot(rows, columns)) >= 0).all()


def test_graph_has_all_pairs_within_tolerance():
    predicted, truth = random_masks(0, 2, 14, 17, 0.2)
    graph = ToleranceGraph.between(predicted, truth, 2.3)
    found = set(zip(graph.pixels[graph.predicted].tolist(), graph.truth.tolist(), strict=True))
    near = reference.near_pairs(predicted, truth, 2.3)
    pixels = np.flatnonzero(predicted)
    expected = {(int(pixels[i]), j) for i, some in enumerate(near) for j in some}
    assert found == expected
    for offset in range(graph.offsets):
        for ends in (graph.predicted, graph.truth):
            part = ends[graph.offset == offset]
            assert len(np.unique(part)) == len(part)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 1.5, 2.3]))
def test_matching_equals_brute_force(seed, radius):
    masks = random_masks(seed, 3, 4, 4, 0.4)
    truth = random_masks(seed + 1, 1, 4, 4, 0.3)[0]
    found = match(planes_of(masks), [truth], radius, 3)
    best = [reference.most_pairs_of_all(reference.near_pairs(m, truth, radius)) for m in masks]
    assert found.truth.tolist() == found.predicted.tolist() == best


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 3, 70]),
    st.floats(0.02, 0.6),
    st.floats(0.02, 0.6),
    st.sampled_from([1, 2.3, 4.3]),
)
def test_matching_equals_single_augmenting_paths(seed, count, predicted, true, radius):
    masks = random_masks(seed, count, 13, 15, predicted)
    masks[::2] &= random_masks(seed + 1, len(masks[::2]), 13, 15, 0.5)
    truth = random_masks(seed + 2, 1, 13, 15, true)[0]
    found = match(planes_of(masks), [truth], radius, count)
    for number in {0, count // 2, count - 1}:
        near = reference.near_pairs(masks[number], truth, radius)
        assert found.truth[number] == reference.most_pairs(near)


def test_long_winding_paths_are_found():
    """Dense masks in a narrow strip: the greedy step leaves paths over the whole length."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        predicted, truth = rng.random((2, 4, 90)) < 0.5
        found = match(planes_of([predicted]), [truth], 2, 1)
        assert found.truth[0] == reference.most_pairs(reference.near_pairs(predicted, truth, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2.3]))
def test_swapping_prediction_and_truth_changes_nothing(seed, radius):
    predicted, truth = random_masks(seed, 2, 12, 12, 0.3)
    there = match(planes_of([predicted]), [truth], radius, 1)
    back = match(planes_of([truth]), [predicted], radius, 1)
    assert there.truth[0] == back.truth[0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_threshold_does_not_depend_on_the_others(seed):
    masks = random_masks(seed, 80, 12, 14, 0.35)
    people = list(random_masks(seed + 1, 3, 12, 14, 0.25))
    together = match(planes_of(masks), people, 2.3, 80)
    for number in (0, 13, 64, 79):
        alone = match(planes_of(masks[[number]]), people, 2.3, 1)
        assert alone.truth[0] == together.truth[number]
        assert alone.predicted[0] == together.predicted[number]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_counts_of_several_annotators_are_within_bounds(seed, people):
    masks = random_masks(seed, 4, 10, 11, 0.35)
    annotations = random_masks(seed + 1, people, 10, 11, 0.15)
    found = match(planes_of(masks), list(annotations), 1.5, 4)
    for number, mask in enumerate(masks):
        near = [reference.near_pairs(mask, truth, 1.5) for truth in annotations]
        pairs = [reference.most_pairs(one) for one in near]
        # Upper bound: each predicted pixel is matched with a different pixel of any annotator.
        pooled = [
            [(person, j) for person, one in enumerate(near) for j in one[i]]
            for i in range(int(mask.sum()))
        ]
        assert found.truth[number] == sum(pairs)
        assert max(pairs) <= found.predicted[number] <= reference.most_pairs(pooled)


def test_equal_annotators_count_once_in_precision():
    line = np.zeros((9, 30), dtype=bool)
    line[4, 5:25] = True
    shifted = np.roll(line, 1, axis=0)
    found = match(planes_of([line]), [line, shifted, np.roll(line, -1, axis=0)], 1, 1)
    assert found.truth[0] == 60
    assert found.predicted[0] == 20


def test_near_pixels_are_preferred_with_several_annotators():
    """A true pixel is matched with the prediction at its position, not with a line next to it."""
    truth = np.zeros((12, 30), dtype=bool)
    truth[5, 3:27] = True
    predicted = truth.copy()
    predicted[7, 3:27] = True
    # The annotators agree, so only the line itself is correct.
    found = match(planes_of([predicted]), [truth, truth], 2, 1)
    assert (found.truth[0], found.predicted[0]) == (48, 24)


def test_several_annotators_prefer_the_nearest_matching():
    """The Berkeley benchmark minimizes distance plus 100 tolerances per unmatched pixel."""
    people = random_masks(7, 4, 40, 50, 0.06)
    masks = random_masks(8, 3, 40, 50, [[[0.03]], [[0.1]], [[0.2]]])
    found = match(planes_of(masks), list(people), 3.2, 3)
    for number, mask in enumerate(masks):
        predicted, right = np.argwhere(mask), np.zeros(mask.sum(), dtype=bool)
        for truth in people:
            distance = spatial.distance.cdist(predicted, np.argwhere(truth))
            rows, columns = optimize.linear_sum_assignment(np.where(distance > 3.2, 320, distance))
            right[rows[distance[rows, columns] <= 3.2]] = True
        assert found.predicted[number] == pytest.approx(right.sum(), rel=0.02)


@pytest.mark.parametrize(("predicted", "true"), [(0, 0), (0, 0.3), (0.3, 0)])
@pytest.mark.parametrize("people", [1, 2])
def test_empty_maps_have_no_matches(predicted, true, people):
    masks = random_masks(1, 2, 8, 9, predicted)
    truths = list(random_masks(2, people, 8, 9, true))
    found = match(planes_of(masks), truths, 2, 2)
    assert found.truth.tolist() == found.predicted.tolist() == [0, 0]
