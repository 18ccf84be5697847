import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import draw, morphology

from reference import boundaries as reference
from taskprism.metrics.boundaries import (
    HED_THRESHOLDS,
    evenly_spaced,
    label_boundaries,
    thin,
    thin_planes,
)
from taskprism.metrics.boundaries.bits import pack, planes_above, unpack


def structured_masks():
    disc = np.zeros((60, 70), dtype=bool)
    disc[draw.disk((30, 35), 25)] = True
    ring = disc.copy()
    ring[draw.disk((30, 35), 12)] = False
    cross = np.zeros((50, 50), dtype=bool)
    cross[20:27] = cross[:, 31:36] = True
    border = np.zeros((20, 33), dtype=bool)
    border[:4] = border[:, -5:] = True
    checks = np.indices((16, 16)).sum(0) % 2 == 0
    blobs = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(80, 90)), 2) > 0
    return {
        "disc": disc,
        "ring": ring,
        "cross": cross,
        "border": border,
        "checks": checks,
        "blobs": blobs,
        "full": np.ones((11, 14), dtype=bool),
        "empty": np.zeros((5, 6), dtype=bool),
        "single row": np.ones((1, 9), dtype=bool),
        "single pixel": np.ones((1, 1), dtype=bool),
        "two by two": np.pad(np.ones((2, 2), dtype=bool), 3),
    }


@pytest.mark.parametrize("name", structured_masks())
def test_thinning_equals_scikit_image_on_shapes(name):
    mask = structured_masks()[name]
    np.testing.assert_array_equal(thin(mask), morphology.thin(mask))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95))
def test_thinning_equals_scikit_image_on_noise(seed, height, width, density):
    mask = np.random.default_rng(seed).random((height, width)) < density
    np.testing.assert_array_equal(thin(mask), morphology.thin(mask))


@pytest.mark.parametrize("comparison", [">", ">="])
@pytest.mark.parametrize("thresholds", [evenly_spaced(5), evenly_spaced(64), HED_THRESHOLDS])
def test_planes_are_thinned_independently(thresholds, comparison):
    thresholds = np.array(thresholds, dtype=np.float32)
    noise = np.random.default_rng(3).normal(size=(40, 50))
    values = np.clip(ndimage.gaussian_filter(noise, 1.5) * 2 + 0.4, 0, 1).astype(np.float32)
    values = np.round(values, 2)  # ties with the thresholds
    planes = thin_planes(planes_above(values, thresholds, comparison))
    bits = unpack(planes.reshape(len(planes), -1).T, len(thresholds)).T.reshape(-1, 40, 50)
    for mask, threshold in zip(bits, thresholds, strict=True):
        above = values > threshold if comparison == ">" else values >= threshold
        np.testing.assert_array_equal(mask.astype(bool), morphology.thin(above))


def test_unpacking_inverts_packing():
    columns = np.random.default_rng(4).integers(0, 2, (30, 64), dtype=np.uint8)
    for count in (1, 7, 8, 33, 64):
        words = pack(columns[:, :count])
        np.testing.assert_array_equal(unpack(words[:, None], count), columns[:, :count])


def test_eight_bit_values_can_equal_thresholds():
    """51/255 is 0.2: it must not pass "above 0.2" because float64 0.2 is a little less."""
    values = np.array([[51, 102, 153, 204]], dtype=np.uint8) / np.float32(255)
    thresholds = np.array([0.2, 0.4, 0.6, 0.8])
    strict = planes_above(values, thresholds.astype(np.float32), ">")
    np.testing.assert_array_equal(strict[0], [[0, 1, 3, 7]])
    weak = planes_above(values, thresholds.astype(np.float32), ">=")
    np.testing.assert_array_equal(weak[0], [[1, 3, 7, 15]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_label_boundaries_do_not_need_connected_parts(seed, height, width, labels):
    labels = np.random.default_rng(seed).integers(0, labels + 1, (height, width))
    np.testing.assert_array_equal(label_boundaries(labels), reference.label_boundaries(labels))
