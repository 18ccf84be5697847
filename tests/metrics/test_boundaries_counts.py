"""From an edge map and drawn boundaries to counts."""

import math

import numpy as np
import pytest

from reference import boundaries as reference
from taskprism.errors import InputError
from taskprism.metrics.boundaries import (
    BoundaryConvention,
    BoundaryCounts,
    BoundaryScores,
    evenly_spaced,
    suppress_non_maxima,
    thin,
    true_boundaries,
)

PLAIN = BoundaryConvention(nms=False, thresholds=evenly_spaced(3))


def scores(prediction, annotations, convention=PLAIN, **options):
    counts = BoundaryCounts.of_image(prediction, annotations, convention, **options)
    return BoundaryScores.of(counts, convention)


def made_contours(name="coffee", rows=slice(0, 120), columns=slice(100, 260)):
    image = reference.photograph(name, rows, columns)
    return image, thin(true_boundaries(reference.made_labels(image), "seism"))


def test_a_prediction_equal_to_the_truth_scores_one():
    _, truth = made_contours()
    result = scores(truth.astype(np.float32), [truth])
    assert result.ods_f == result.ois_f == 1
    assert (result.precision == 1).all() and (result.recall == 1).all()


@pytest.mark.parametrize("shape", [(100, 150), (321, 481)])
def test_lines_match_within_the_tolerance(shape):
    tolerance = PLAIN.radius(*shape)
    assert tolerance != int(tolerance)
    truth = np.zeros(shape, dtype=bool)
    truth[50, 20:-20] = True
    for shift, expected in ((math.floor(tolerance), 1), (math.ceil(tolerance), 0)):
        for direction in (-1, 1):
            moved = np.roll(truth, direction * shift, axis=0).astype(np.float32)
            assert scores(moved, [truth]).ods_f == expected


def test_golden_counts():
    """20 true pixels, 8 of them found; 5 predicted beyond tolerance; a pixel matches only once."""
    truth = np.zeros((40, 60), dtype=bool)
    truth[10, 10:30] = True
    prediction = np.zeros((40, 60), dtype=np.float32)
    prediction[10, 10:18] = 0.9
    prediction[30, 40:45] = 0.6
    counts = BoundaryCounts.of_image(prediction, [truth], PLAIN)
    np.testing.assert_array_equal(counts.totals, [[8, 8, 8], [20, 20, 20], [8, 8, 8], [13, 13, 8]])
    # F = 16/33 at the lower thresholds, 16/28 at 0.75.
    assert counts.best.tolist() == [8, 20, 8, 8]
    assert BoundaryScores.of(counts, PLAIN).ods_f == pytest.approx(16 / 28)


def test_swapping_prediction_and_truth_swaps_precision_and_recall():
    _, first = made_contours()
    _, second = made_contours(columns=slice(103, 263))
    convention = BoundaryConvention(nms=False, thin=False, thresholds=(0.5,))
    there = scores(first.astype(np.float32), [second], convention)
    back = scores(second.astype(np.float32), [first], convention)
    assert 0 < there.ods_f < 1
    assert (there.precision, there.recall) == (back.recall, back.precision)


@pytest.mark.parametrize("comparison", [">", ">="])
@pytest.mark.parametrize("max_distance", [0.0075, 0.02])
def test_photographs_equal_the_reference(comparison, max_distance):
    image, truth = made_contours("chelsea", slice(60, 120), slice(100, 190))
    prediction = np.round(reference.made_prediction(image), 2)
    convention = BoundaryConvention(
        thresholds=evenly_spaced(9), comparison=comparison, max_distance=max_distance
    )
    counts = BoundaryCounts.of_image(prediction, [truth], convention)
    expected = reference.count_image(
        suppress_non_maxima(prediction),
        [truth],
        convention.thresholds,
        max_distance * math.hypot(60, 90),
        at_least=comparison == ">=",
    )
    np.testing.assert_array_equal(counts.totals, expected)


def test_several_annotators_add_up_in_recall():
    image, truth = made_contours("chelsea", slice(60, 120), slice(100, 190))
    coarse = true_boundaries(reference.made_labels(image, scale=800), "seism")
    prediction = suppress_non_maxima(reference.made_prediction(image))
    both = BoundaryCounts.of_image(prediction, [truth, coarse], PLAIN).totals
    first = BoundaryCounts.of_image(prediction, [truth], PLAIN).totals
    second = BoundaryCounts.of_image(prediction, [coarse], PLAIN).totals
    np.testing.assert_array_equal(both[:2], first[:2] + second[:2])
    np.testing.assert_array_equal(both[3], first[3])
    assert (both[2] >= np.maximum(first[2], second[2])).all()
    assert (both[2] <= first[2] + second[2]).all()


def test_label_maps_are_thinned_boundaries():
    labels = np.zeros((20, 20), dtype=int)
    labels[6:14, 6:14] = 3
    found = true_boundaries(labels, "seism")
    assert found[5, 6:13].all() and found[6:13, 5].all()  # the corner itself is thinned away
    assert not found[6:13, 6:13].any()


def test_eight_bit_truncation_equals_reading_files():
    rng = np.random.default_rng(0)
    prediction = rng.random((30, 40), dtype=np.float32)
    stored = np.floor(prediction.astype(np.float64) * 255).astype(np.uint8)
    truth = rng.random((30, 40)) < 0.1
    fields = {"nms": False, "thresholds": evenly_spaced(50), "comparison": ">="}
    truncating = BoundaryConvention(eight_bit=True, **fields)
    read = BoundaryCounts.of_image(stored / np.float32(255), [truth], BoundaryConvention(**fields))
    for probabilities in (prediction, stored / np.float32(255)):
        counts = BoundaryCounts.of_image(probabilities, [truth], truncating)
        np.testing.assert_array_equal(counts.totals, read.totals)


def test_padding_is_ignored():
    image, truth = made_contours("chelsea", slice(60, 120), slice(100, 190))
    prediction = reference.made_prediction(image)
    convention = BoundaryConvention(thresholds=evenly_spaced(5))
    plain = BoundaryCounts.of_image(prediction, [truth], convention)
    around = ((7, 3), (0, 20))
    valid = np.pad(np.ones(truth.shape, dtype=bool), around)
    padded = BoundaryCounts.of_image(
        np.pad(prediction, around, constant_values=0.7),
        [np.pad(truth, around, constant_values=True)],
        convention,
        valid,
    )
    np.testing.assert_array_equal(padded.totals, plain.totals)


def test_invalid_pixels_are_not_counted():
    truth = np.zeros((40, 60), dtype=bool)
    truth[10, 5:55] = True
    valid = np.ones((40, 60), dtype=bool)
    valid[5:15, 20:30] = False
    counts = BoundaryCounts.of_image(truth.astype(np.float32), [truth], PLAIN, valid)
    assert counts.totals[:, 0].tolist() == [40, 40, 40, 40]


def test_images_without_valid_pixels_are_not_counted():
    nothing = np.zeros((10, 10), dtype=bool)
    counts = BoundaryCounts.of_image(nothing.astype(float), [nothing], PLAIN, nothing)
    assert (counts.images, counts.totals.sum()) == (0, 0)


def test_images_without_boundaries_lower_precision():
    nothing = np.zeros((20, 20), dtype=bool)
    some = np.zeros((20, 20), dtype=np.float32)
    some[5, 5:10] = 0.6
    assert BoundaryCounts.of_image(some, [nothing], PLAIN).best.tolist() == [0, 0, 0, 5]


@pytest.mark.parametrize(
    ("prediction", "annotations", "message"),
    [
        (np.zeros((4, 5, 1)), [np.zeros((4, 5))], r"\(H, W\)"),
        (np.zeros((4, 5)), [], "at least one annotator"),
        (np.zeros((4, 5)), [np.zeros((5, 4))], "4 x 5 pixels, the ground truth 5 x 4"),
        (np.full((4, 5), 1.5), [np.zeros((4, 5))], "sigmoid"),
        (np.full((4, 5), np.nan), [np.zeros((4, 5))], "sigmoid"),
        (np.full((4, 5), -0.1), [np.zeros((4, 5))], "sigmoid"),
    ],
)
def test_wrong_arrays_are_refused(prediction, annotations, message):
    with pytest.raises(InputError, match=message):
        BoundaryCounts.of_image(prediction, annotations, PLAIN)


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (1, 1)])
def test_maps_one_pixel_wide_are_all_border(size):
    """Suppression sets the border to 0; an image of which only one row is valid is scored."""
    truth = np.ones(size, dtype=bool)
    counts = BoundaryCounts.of_image(truth.astype(np.float32), [truth], BoundaryConvention())
    assert counts.totals[1].tolist() == [truth.sum()] * 99
    assert counts.images == 1 and not counts.totals[[0, 2, 3]].any()
