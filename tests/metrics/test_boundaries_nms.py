import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import boundaries as reference
from taskprism.errors import InputError
from taskprism.metrics.boundaries import suppress_non_maxima

UNDECIDED = 1e-5  # ties that float32 may break either way


def assert_like_reference(edges):
    kept = suppress_non_maxima(edges)
    margins = reference.suppression_margins(edges)
    ramp = reference.border_ramp(*edges.shape)
    expected = np.where(margins >= 0, edges * ramp, 0)
    clear = np.abs(margins) > UNDECIDED
    assert clear.mean() > 0.9
    np.testing.assert_allclose(kept[clear], expected[clear], atol=1e-6)


@pytest.mark.parametrize("shape", [(23, 31), (40, 12), (2, 9)])
def test_suppression_equals_the_reference_on_noise(shape):
    assert_like_reference(np.random.default_rng(1).random(shape, dtype=np.float32))


def test_suppression_equals_the_reference_on_a_photograph():
    image = reference.photograph("coffee", slice(100, 160), slice(200, 270))
    assert_like_reference(reference.made_prediction(image, noise=0.02))


@pytest.mark.parametrize("angle", [0, 15, 30, 45, 60, 75, 88, 92, 105, 120, 135, 150, 165])
def test_a_blurred_line_becomes_a_ridge(angle):
    y, x = np.mgrid[-30:31, -30:31]
    normal = np.deg2rad(angle)
    distance = np.abs(x * np.cos(normal) + y * np.sin(normal))
    line = np.exp(-(distance**2) / 8).astype(np.float32)
    kept = suppress_non_maxima(line)[8:-8, 8:-8]
    distance = distance[8:-8, 8:-8]
    assert (kept[distance > 1.2] == 0).all()
    assert (kept[distance < 0.3] > 0.9).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 30))
def test_suppression_commutes_with_rotation_of_the_image(seed, height, width):
    edges = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    edges[edges < 0.3] = 0
    kept, turned = suppress_non_maxima(edges), suppress_non_maxima(edges[::-1, ::-1])[::-1, ::-1]
    # Only ties within float32 noise may differ.
    assert (kept != turned).mean() <= 0.02


def test_suppression_decreases_to_zero_at_the_border():
    kept = suppress_non_maxima(np.ones((20, 30), dtype=np.float32))
    np.testing.assert_allclose(kept, reference.border_ramp(20, 30), atol=1e-6)


def test_empty_maps_stay_empty():
    assert not suppress_non_maxima(np.zeros((9, 9))).any()


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 4, 5)])
def test_other_shapes_than_maps_are_refused(shape):
    with pytest.raises(InputError, match="at least 2 x 2 pixels"):
        suppress_non_maxima(np.zeros(shape))
