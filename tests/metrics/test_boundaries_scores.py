import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import boundaries as reference
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.metrics.boundaries import (
    CONVENTIONS,
    HED_THRESHOLDS,
    BoundaryConvention,
    BoundaryCounts,
    BoundaryScores,
    average_precision,
    convention,
    evenly_spaced,
    f_measures,
    precision_recall,
)

THREE = BoundaryConvention(thresholds=evenly_spaced(3))


def counts(totals, best=(0, 0, 0, 0), images=1):
    return BoundaryCounts(np.array(totals), np.array(best), images)


def test_hand_computed_curve():
    """At thresholds 0.25, 0.5, 0.75: P = 0.5, 0.8, 1; R = 0.9, 0.8, 0.1."""
    result = BoundaryScores.of(
        counts([[90, 80, 10], [100] * 3, [90, 80, 10], [180, 100, 10]], (85, 100, 85, 100)), THREE
    )
    np.testing.assert_allclose(result.precision, [0.5, 0.8, 1])
    np.testing.assert_allclose(result.recall, [0.9, 0.8, 0.1])
    np.testing.assert_allclose(result.f, [0.9 / 1.4, 0.8, 0.2 / 1.1])
    assert (result.ods_f, result.best_threshold) == (pytest.approx(0.8), 0.5)
    assert result.ois_f == pytest.approx(0.85)
    # Recalls 0.1 .. 0.8 fall from 1 to 0.8 (71 points, mean 0.9), 0.81 .. 0.9 from 0.77 to 0.5.
    assert result.average_precision == pytest.approx((71 * 0.9 + 10 * 0.635) / 100)


def test_scores_of_empty_maps():
    """No truth: R = 1, P = 0. No prediction: R = 0, P = 1. Neither: as without truth."""
    totals = np.array([[0, 0, 0], [0, 7, 0], [0, 0, 0], [5, 0, 0]])
    precision, recall = precision_recall(totals)
    assert precision.tolist() == [0, 1, 0]
    assert recall.tolist() == [1, 0, 1]
    assert f_measures(totals).tolist() == [0, 0, 0]


def test_scores_are_nan_without_images():
    result = BoundaryScores.of(BoundaryCounts.zero(3), THREE)
    assert np.isnan([result.ods_f, result.ois_f, result.average_precision]).all()
    assert np.isnan(result.f).all()
    assert result.images == 0


def test_first_of_equal_thresholds_is_the_best():
    result = BoundaryScores.of(counts([[4] * 3, [5] * 3, [4] * 3, [5] * 3]), THREE)
    assert result.best_threshold == 0.25


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8))
def test_average_precision_equals_manual_interpolation(points):
    precision, recall = np.array(points).T / 40
    expected = reference.average_precision(precision, recall)
    assert average_precision(precision, recall) == pytest.approx(expected, abs=1e-12)


def test_addition_is_exact_in_any_order():
    rng = np.random.default_rng(0)
    parts = [
        BoundaryCounts(rng.integers(0, 2**40, (4, 3)), rng.integers(0, 2**40, 4), 1)
        for _ in range(5)
    ]
    there = sum(parts, BoundaryCounts.zero(3))
    back = sum(parts[::-1], BoundaryCounts.zero(3))
    assert (there.totals == back.totals).all() and (there.best == back.best).all()
    assert there.totals.dtype == np.int64
    assert there.images == 5
    with pytest.raises(InputError, match="of 3 and 4 thresholds"):
        there + BoundaryCounts.zero(4)


def test_json_has_scores_and_curve():
    result = BoundaryScores.of(counts([[4] * 3, [5] * 3, [4] * 3, [5] * 3]), THREE).as_json()
    assert result.keys() == {"odsF", "oisF", "AP", "best_threshold", "images", "curve"}
    assert [point["threshold"] for point in result["curve"]] == [0.25, 0.5, 0.75]
    assert result["curve"][0] == {
        "threshold": 0.25, "precision": 0.8, "recall": 0.8, "f": pytest.approx(0.8),
    }  # fmt: skip


def test_thresholds():
    assert evenly_spaced(99) == tuple(k / 100 for k in range(1, 100))
    assert evenly_spaced(1) == (0.5,)
    assert len(HED_THRESHOLDS) == 101
    assert (HED_THRESHOLDS[:2], HED_THRESHOLDS[-2:]) == ((0.001, 0.01), (0.99, 0.999))
    with pytest.raises(
        InputError, match="number of thresholds must be an integer of at least 1, got 0"
    ):
        evenly_spaced(0)


def test_named_conventions():
    assert CONVENTIONS["pascal"].radius(375, 500) == pytest.approx(0.0075 * 625)
    assert CONVENTIONS["nyud"].radius(425, 560) == pytest.approx(7.733, abs=1e-3)
    assert convention("bsds").thresholds == evenly_spaced(99)
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'pascal'"):
        convention("pascl")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_distance": 4.3}, "fraction of the image diagonal"),
        ({"thresholds": ()}, "ascend"),
        ({"thresholds": (0.5, 0.5)}, "ascend"),
        ({"thresholds": (0.5, 0.5 + 1e-9)}, "float32"),
        ({"thresholds": (0.5, 1.5)}, r"in \[0, 1\] in ascending"),
        ({"comparison": "<"}, "comparison of BoundaryConvention '<'. Known: >, >="),
        ({"ground_truth": "labels"}, "ground_truth of BoundaryConvention .* Known: raw, seism"),
    ],
)
def test_wrong_conventions_are_refused(fields, message):
    with pytest.raises(TaskprismError, match=message):
        BoundaryConvention(**fields)
