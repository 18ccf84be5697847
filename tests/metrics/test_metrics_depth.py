"""Depth errors against a plain reference, scikit-learn and numbers by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reference import dense_metrics
from reference.batches import MASK_SHAPE, mask_with_empty_image, score, to_numpy
from taskprism.metrics import depth_metrics

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_agrees_with_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    target = 10 * torch.rand(MASK_SHAPE, generator=generator)
    prediction = target * (0.5 + torch.rand(MASK_SHAPE, generator=generator))
    target[0, 0, 0, :3], prediction[2, 0, 0, :2] = 0, 0
    valid = mask_with_empty_image(seed)
    valid[0, 0, 0, :3] = valid[2, 0, 0, :2] = True
    scores = score(depth_metrics(), prediction, target, valid)
    expected = dense_metrics.depth(*to_numpy(prediction, target, valid))
    assert scores == pytest.approx(expected, abs=1e-9)
    assert scores["rmse"] == pytest.approx(
        sklearn_metrics.root_mean_squared_error(target[valid], prediction[valid]), abs=1e-6
    )


def test_depth_by_hand():
    target = torch.tensor([[[[2.0, 4.0]]], [[[1.0, 9.0]]]])
    prediction = torch.tensor([[[[2.5, 4.0]]], [[[4.0, 0.0]]]])
    valid = torch.tensor([[[[True, True]]], [[[True, False]]]])
    scores = score(depth_metrics(), prediction, target, valid)
    assert scores["rmse"] == pytest.approx(math.sqrt((0.25 + 0 + 9) / 3))
    assert scores["rmse_image_mean"] == pytest.approx((math.sqrt(0.125) + 3) / 2)
    assert scores["abs_error"] == pytest.approx(3.5 / 3)
    assert scores["rel_error"] == pytest.approx((0.25 + 0 + 3) / 3)
    # 2.5 / 2 is exactly 1.25, and the limit is strict
    assert scores["delta1"] == pytest.approx(1 / 3)
    assert scores["delta2"] == scores["delta3"] == pytest.approx(2 / 3)


def test_values_at_invalid_depths_change_nothing():
    target, prediction = torch.rand(MASK_SHAPE) + 1, torch.rand(MASK_SHAPE) + 1
    valid = mask_with_empty_image(0)
    clean = score(depth_metrics(), prediction, target, valid)
    nan = torch.tensor(torch.nan)
    spoilt = torch.where(valid, prediction, nan), torch.where(valid, target, nan)
    assert score(depth_metrics(), *spoilt, valid) == clean


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_up_to_scale_agree_with_numpy(seed):
    generator = torch.Generator().manual_seed(seed)
    target = 60 * torch.rand(MASK_SHAPE, generator=generator)
    prediction = 90 * torch.rand(MASK_SHAPE, generator=generator)
    target[0, 0, 0, 0] = 0
    valid = mask_with_empty_image(seed)
    scores = score(depth_metrics(median_scaled=True), prediction, target, valid)
    squared, relative = [], []
    for found, wanted, mask in zip(*to_numpy(prediction, target, valid), strict=True):
        mask = mask & (wanted > 0)
        if not mask.any():
            continue
        d, guess = wanted[mask].astype(float), found[mask].astype(float)
        guess = np.clip(guess * np.median(d) / np.median(guess), 1e-3, 80)
        squared.append(np.mean((d - guess) ** 2))
        relative.append(np.mean(np.abs(d - guess) / d))
    assert len(squared) == 3
    assert scores["rmse_median_scaled"] == pytest.approx(math.sqrt(np.mean(squared)))
    assert scores["rel_error_median_scaled"] == pytest.approx(np.mean(relative))


def test_errors_up_to_scale_do_not_depend_on_the_scale():
    target = 1 + 9 * torch.rand(MASK_SHAPE)
    valid = mask_with_empty_image(0)
    scores = score(depth_metrics(median_scaled=True), 3 * target, target, valid)
    assert scores["rmse_median_scaled"] == pytest.approx(0, abs=1e-5)
    assert scores["rmse"] > 1
