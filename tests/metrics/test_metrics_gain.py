import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskprism.errors import InputError
from taskprism.metrics import gain, task_gains

UP = {"semseg": True, "depth": False}
score = st.floats(0.01, 100)


def test_by_hand():
    results, baseline = {"semseg": 44.0, "depth": 0.57}, {"semseg": 40.0, "depth": 0.6}
    assert task_gains(results, baseline, UP) == pytest.approx({"semseg": 10.0, "depth": 5.0})
    assert gain(results, baseline, UP) == pytest.approx(7.5)
    worse = {"semseg": 38.0, "depth": 0.75}
    assert gain(worse, baseline, UP) == pytest.approx(-(5 + 25) / 2)


@given(semseg=score, depth=score)
def test_gain_over_equal_scores_is_zero(semseg, depth):
    results = {"semseg": semseg, "depth": depth}
    assert gain(results, results, UP) == 0.0


@given(base=score, result=score)
def test_gain_depends_on_direction_and_not_on_scale(base, result):
    up = gain({"t": result}, {"t": base}, {"t": True})
    down = gain({"t": result}, {"t": base}, {"t": False})
    assert up == -down
    assert (up > 0) == (result > base)
    scaled = gain({"t": 100 * result}, {"t": 100 * base}, {"t": True})
    assert scaled == pytest.approx(up, abs=1e-6)


def test_nan_scores_give_a_nan_gain():
    gains = task_gains({"semseg": math.nan, "depth": 1.0}, {"semseg": 1.0, "depth": 1.0}, UP)
    assert math.isnan(gains["semseg"]) and gains["depth"] == 0
    assert math.isnan(gain({"semseg": math.nan}, {"semseg": 1.0}, UP))


def test_additional_baselines_are_ignored():
    assert gain({"depth": 0.5}, {"depth": 1.0, "edge": 0.0}, UP) == 50.0


@pytest.mark.parametrize(
    ("results", "baseline", "directions", "message"),
    [
        ({}, {}, {}, "at least one task"),
        ({"depth": 1.0}, {"semseg": 1.0}, UP, "'depth' has no baseline. Known: semseg"),
        ({"depth": 1.0}, {"depth": 0.0}, UP, "baseline of task 'depth' is 0"),
        ({"edge": 1.0}, {"edge": 1.0}, UP, r"'edge' has no direction .* Known: semseg, depth"),
    ],
)
def test_missing_scores_are_named(results, baseline, directions, message):
    with pytest.raises(InputError, match=message):
        gain(results, baseline, directions)
