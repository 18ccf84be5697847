"""Saliency scores against plain references, scikit-learn and numbers by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reference import dense_metrics
from reference.batches import MASK_SHAPE, mask_with_empty_image, score, to_numpy
from taskprism.errors import UnknownNameError
from taskprism.metrics import max_f, saliency_metrics

SEEDS = range(3)


def _saliency(seed):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(MASK_SHAPE, generator=generator) > 0.6).float()
    target[3] = 0  # an image without anything salient
    noise = torch.randn(MASK_SHAPE, generator=generator)
    return torch.sigmoid(2 * (target - 0.5) + noise), target, mask_with_empty_image(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_saliency_of_astmt_agrees_with_reference(seed):
    batch = _saliency(seed)
    scores = score(saliency_metrics("astmt"), *batch)
    assert scores["max_miou"] == pytest.approx(dense_metrics.max_miou(*to_numpy(*batch)), abs=1e-9)
    assert scores["max_f"] == pytest.approx(dense_metrics.max_f_astmt(*to_numpy(*batch)), abs=1e-9)


def _best_f(prediction, target, valid, thresholds):
    label, scores = target[valid].numpy() > 0.5, prediction[valid].double().numpy()
    beta = math.sqrt(0.3)
    return max(
        sklearn_metrics.fbeta_score(label, scores >= t, beta=beta, zero_division=0)
        for t in thresholds
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_max_f_of_atrc_agrees_with_scikit_learn(seed):
    batch = _saliency(seed)
    scores = score(saliency_metrics("atrc"), *batch)
    assert scores["max_f"] == pytest.approx(_best_f(*batch, np.arange(1, 20) / 20), abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_second_sigmoid_of_invpt_leaves_five_thresholds(seed):
    batch = _saliency(seed)
    left = [0.0] + [math.log(t / (1 - t)) for t in (0.55, 0.6, 0.65, 0.7)]
    scores = score(saliency_metrics("invpt"), *batch)
    assert scores["max_f"] == pytest.approx(_best_f(*batch, left), abs=1e-9)


def test_saliency_thresholds_are_strict_in_astmt_and_inclusive_in_atrc():
    target = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    valid = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    astmt = score(saliency_metrics("astmt"), torch.tensor([[[[1.0, 0.2, 0.0]]]]), target, valid)
    assert astmt["max_miou"] == 0.5
    at_limit = torch.tensor([[[[1.0, 0.95, 0.949]]]])
    atrc = score(saliency_metrics("atrc"), at_limit, target, valid)
    assert atrc["max_f"] == 1.0


def test_iou_of_two_empty_masks_is_one():
    prediction, target = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    target[1] = 1
    valid = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    scores = score(saliency_metrics("astmt"), prediction, target, valid)
    assert scores == {"max_miou": 0.5, "max_f": 0.0}
    assert score(saliency_metrics("atrc"), prediction, target, valid)["max_f"] == 0.0


def test_f_is_zero_without_salient_pixels():
    prediction, target = torch.full((1, 1, 2, 2), 0.7), torch.zeros(1, 1, 2, 2)
    valid = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    for variant in ("atrc", "invpt", "astmt"):
        assert score(saliency_metrics(variant), prediction, target, valid)["max_f"] == 0.0


def test_unknown_variant_of_max_f():
    with pytest.raises(UnknownNameError, match="Known: atrc, invpt, astmt"):
        max_f("voc")
