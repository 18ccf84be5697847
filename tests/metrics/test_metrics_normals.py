"""Angles against the arc cosine, NumPy's median and numbers by hand."""

import math

import numpy as np
import pytest
import torch

from reference import dense_metrics
from reference.batches import MASK_SHAPE, mask_with_empty_image, score, to_numpy
from taskprism.metrics import MedianAngle, normals_metrics
from taskprism.metrics.normals import angle_histogram, median_from_histogram

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_agree_with_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (MASK_SHAPE[0], 3, *MASK_SHAPE[2:])
    target = torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1)
    prediction = 3 * (target + 0.3 * torch.randn(shape, generator=generator))
    valid = mask_with_empty_image(seed)
    scores = score(normals_metrics(), prediction, target, valid)
    expected = dense_metrics.normals(*to_numpy(prediction, target, valid))
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 11.25, 90.0, 179.99999, 180.0])
def test_small_and_large_angles_are_exact(degrees):
    radians = math.radians(degrees)
    target = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[None, :, None, None]
    turned = [math.sin(radians), 0.0, math.cos(radians)]
    prediction = torch.tensor(turned, dtype=torch.float64)
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    scores = score(normals_metrics(), prediction[None, :, None, None], target, valid)
    for key in ("mean_angle", "median_angle", "rmse_angle"):
        assert scores[key] == pytest.approx(degrees, abs=1e-8)


def test_angle_limits_are_strict_and_zero_vectors_have_90_degrees():
    target = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 1, 4)
    prediction = torch.zeros(1, 3, 1, 4)
    prediction[0, 2, 0, 1] = 5.0
    valid = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    scores = score(normals_metrics(), prediction, target, valid)
    assert scores["mean_angle"] == pytest.approx(67.5)
    assert scores["median_angle"] == pytest.approx(90)
    assert scores["within_30"] == 0.25


def test_median_is_exact_for_few_and_close_for_many_angles():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 500):
        few = rng.uniform(0, 180, size)
        median = median_from_histogram(angle_histogram(torch.from_numpy(few)))
        assert median.item() == pytest.approx(np.median(few), abs=1e-6)
    many = rng.gamma(2.0, 8.0, 400_000).clip(0, 180)
    median = median_from_histogram(angle_histogram(torch.from_numpy(many)))
    assert median.item() == pytest.approx(np.median(many), abs=1e-3)
    equal = torch.full((10_000,), 22.5, dtype=torch.float64)
    assert median_from_histogram(angle_histogram(equal)).item() == pytest.approx(22.5, abs=1e-9)
    ends = torch.tensor([0.0, 180.0], dtype=torch.float64)
    assert median_from_histogram(angle_histogram(ends)).item() == pytest.approx(90)


def test_median_is_nan_if_a_prediction_is():
    target = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 1, 3)
    prediction = target.clone()
    prediction[0, 0, 0, 0] = torch.nan
    metric = MedianAngle()
    metric.update(prediction, target, torch.ones(1, 1, 1, 3, dtype=torch.bool))
    assert metric.compute().isnan()
