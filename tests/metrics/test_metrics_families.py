"""Each family of metrics against plain references, scikit-learn and numbers by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reference import dense_metrics
from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics import (
    EdgeLoss,
    MedianAngle,
    albedo_metrics,
    depth_metrics,
    edge_metrics,
    max_f,
    normals_metrics,
    saliency_metrics,
    segmentation_metrics,
)
from taskprism.metrics.normals import angle_histogram, median_from_histogram

SEEDS = range(3)
SHAPE = (4, 1, 6, 7)


def _score(metrics, *batch):
    metrics.update(*batch)
    return {key: value.item() for key, value in metrics.compute().items()}


def _mask(seed):
    valid = torch.rand(SHAPE, generator=torch.Generator().manual_seed(100 + seed)) > 0.3
    valid[1] = False  # an image without any label
    return valid


def _numpy(*tensors):
    return [t.numpy() for t in tensors]


# ---------------------------------------------------------------- segmentation


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("absent", ["skip", "zero"])
def test_segmentation_agrees_with_reference_and_scikit_learn(seed, absent):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, 5, SHAPE, generator=generator)
    target = torch.randint(0, 4, SHAPE, generator=generator)
    prediction[prediction == 2] = 0
    target[target == 2] = 3  # class 2 is absent from both; class 4 from the labels only
    valid = _mask(seed)
    scores = _score(segmentation_metrics(5, absent), prediction, target, valid)
    expected = dense_metrics.segmentation(*_numpy(prediction, target, valid), 5, absent)
    assert scores == pytest.approx(expected, abs=1e-12)
    label, guess = target[valid].numpy(), prediction[valid].numpy()
    present = [0, 1, 3, 4] if absent == "skip" else range(5)
    jaccard = sklearn_metrics.jaccard_score(
        label, guess, labels=present, average="macro", zero_division=0
    )
    recall_of = [0, 1, 3] if absent == "skip" else range(5)
    recall = sklearn_metrics.recall_score(
        label, guess, labels=recall_of, average="macro", zero_division=0
    )
    assert scores["miou"] == pytest.approx(jaccard, abs=1e-12)
    assert scores["mean_accuracy"] == pytest.approx(recall, abs=1e-12)
    accuracy = sklearn_metrics.accuracy_score(label, guess)
    assert scores["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-12)


def test_iou_is_over_the_data_set_not_per_image():
    metrics = segmentation_metrics(2)
    valid = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    first = torch.tensor([[[[1, 1, 1, 1]]]]), torch.tensor([[[[1, 1, 1, 1]]]])
    second = torch.tensor([[[[0, 0, 0, 0]]]]), torch.tensor([[[[0, 0, 0, 1]]]])
    for prediction, target in (first, second):
        metrics.update(prediction, target, valid)
    # class 0: 3 / 4, class 1: 4 / 5
    assert metrics.compute()["miou"].item() == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_a_prediction_that_is_no_class_is_a_miss():
    target, valid = torch.tensor([[[[0, 1]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    for other in (255, -1):
        scores = _score(segmentation_metrics(2), torch.tensor([[[[0, other]]]]), target, valid)
        assert scores == {"miou": 0.5, "pixel_accuracy": 0.5, "mean_accuracy": 0.5}


def test_a_label_that_is_no_class_is_named():
    target, valid = torch.tensor([[[[0, 255]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match=r"\[255\] are outside 0\.\.1; mask"):
        segmentation_metrics(2).update(target, target, valid)
    segmentation_metrics(2).update(target, target, target != 255)


# ---------------------------------------------------------------- depth


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_agrees_with_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    target = 10 * torch.rand(SHAPE, generator=generator)
    prediction = target * (0.5 + torch.rand(SHAPE, generator=generator))
    target[0, 0, 0, :3], prediction[2, 0, 0, :2] = 0, 0
    valid = _mask(seed)
    valid[0, 0, 0, :3] = valid[2, 0, 0, :2] = True
    scores = _score(depth_metrics(), prediction, target, valid)
    expected = dense_metrics.depth(*_numpy(prediction, target, valid))
    assert scores == pytest.approx(expected, abs=1e-9)
    assert scores["rmse"] == pytest.approx(
        sklearn_metrics.root_mean_squared_error(target[valid], prediction[valid]), abs=1e-6
    )


def test_depth_by_hand():
    target = torch.tensor([[[[2.0, 4.0]]], [[[1.0, 9.0]]]])
    prediction = torch.tensor([[[[2.5, 4.0]]], [[[4.0, 0.0]]]])
    valid = torch.tensor([[[[True, True]]], [[[True, False]]]])
    scores = _score(depth_metrics(), prediction, target, valid)
    assert scores["rmse"] == pytest.approx(math.sqrt((0.25 + 0 + 9) / 3))
    assert scores["rmse_image_mean"] == pytest.approx((math.sqrt(0.125) + 3) / 2)
    assert scores["abs_error"] == pytest.approx(3.5 / 3)
    assert scores["rel_error"] == pytest.approx((0.25 + 0 + 3) / 3)
    # 2.5 / 2 is exactly 1.25, and the limit is strict
    assert scores["delta1"] == pytest.approx(1 / 3)
    assert scores["delta2"] == scores["delta3"] == pytest.approx(2 / 3)


def test_rubbish_where_depth_is_invalid_changes_nothing():
    target, prediction = torch.rand(SHAPE) + 1, torch.rand(SHAPE) + 1
    valid = _mask(0)
    clean = _score(depth_metrics(), prediction, target, valid)
    nan = torch.tensor(torch.nan)
    spoilt = torch.where(valid, prediction, nan), torch.where(valid, target, nan)
    assert _score(depth_metrics(), *spoilt, valid) == clean


# ---------------------------------------------------------------- normals


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_agree_with_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (SHAPE[0], 3, *SHAPE[2:])
    target = torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1)
    prediction = 3 * (target + 0.3 * torch.randn(shape, generator=generator))
    valid = _mask(seed)
    scores = _score(normals_metrics(), prediction, target, valid)
    expected = dense_metrics.normals(*_numpy(prediction, target, valid))
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 11.25, 90.0, 179.99999, 180.0])
def test_angles_are_exact_where_the_arc_cosine_is_not(degrees):
    radians = math.radians(degrees)
    target = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[None, :, None, None]
    turned = [math.sin(radians), 0.0, math.cos(radians)]
    prediction = torch.tensor(turned, dtype=torch.float64)
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    scores = _score(normals_metrics(), prediction[None, :, None, None], target, valid)
    for key in ("mean_angle", "median_angle", "rmse_angle"):
        assert scores[key] == pytest.approx(degrees, abs=1e-8)


def test_angle_limits_are_strict_and_no_direction_is_off_by_a_right_angle():
    target = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 1, 4)
    prediction = torch.zeros(1, 3, 1, 4)
    prediction[0, 2, 0, 1] = 5.0
    valid = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    scores = _score(normals_metrics(), prediction, target, valid)
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


def test_median_is_nan_where_a_prediction_is():
    target = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 1, 3)
    prediction = target.clone()
    prediction[0, 0, 0, 0] = torch.nan
    metric = MedianAngle()
    metric.update(prediction, target, torch.ones(1, 1, 1, 3, dtype=torch.bool))
    assert metric.compute().isnan()


# ---------------------------------------------------------------- saliency


def _saliency(seed):
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(SHAPE, generator=generator) > 0.6).float()
    target[3] = 0  # an image without anything salient
    noise = torch.randn(SHAPE, generator=generator)
    return torch.sigmoid(2 * (target - 0.5) + noise), target, _mask(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_saliency_of_astmt_agrees_with_reference(seed):
    batch = _saliency(seed)
    scores = _score(saliency_metrics("astmt"), *batch)
    assert scores["max_miou"] == pytest.approx(dense_metrics.max_miou(*_numpy(*batch)), abs=1e-9)
    assert scores["max_f"] == pytest.approx(dense_metrics.max_f_astmt(*_numpy(*batch)), abs=1e-9)


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
    scores = _score(saliency_metrics("atrc"), *batch)
    assert scores["max_f"] == pytest.approx(_best_f(*batch, np.arange(1, 20) / 20), abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_second_sigmoid_of_invpt_leaves_five_thresholds(seed):
    batch = _saliency(seed)
    left = [0.0] + [math.log(t / (1 - t)) for t in (0.55, 0.6, 0.65, 0.7)]
    scores = _score(saliency_metrics("invpt"), *batch)
    assert scores["max_f"] == pytest.approx(_best_f(*batch, left), abs=1e-9)


def test_saliency_thresholds_are_strict_in_astmt_and_inclusive_in_atrc():
    target = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    valid = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    astmt = _score(saliency_metrics("astmt"), torch.tensor([[[[1.0, 0.2, 0.0]]]]), target, valid)
    assert astmt["max_miou"] == 0.5
    at_limit = torch.tensor([[[[1.0, 0.95, 0.949]]]])
    atrc = _score(saliency_metrics("atrc"), at_limit, target, valid)
    assert atrc["max_f"] == 1.0


def test_empty_and_nothing_predicted_is_a_full_score_per_image_iou():
    prediction, target = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    target[1] = 1
    valid = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    scores = _score(saliency_metrics("astmt"), prediction, target, valid)
    assert scores == {"max_miou": 0.5, "max_f": 0.0}
    assert _score(saliency_metrics("atrc"), prediction, target, valid)["max_f"] == 0.0


def test_no_salient_pixel_at_all_gives_zero_f():
    prediction, target = torch.full((1, 1, 2, 2), 0.7), torch.zeros(1, 1, 2, 2)
    valid = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    for variant in ("atrc", "invpt", "astmt"):
        assert _score(saliency_metrics(variant), prediction, target, valid)["max_f"] == 0.0


def test_unknown_variant_of_max_f():
    with pytest.raises(UnknownNameError, match="Known: atrc, invpt, astmt"):
        max_f("voc")


# ---------------------------------------------------------------- edges and albedo


@pytest.mark.parametrize("weight", [0.95, 0.8, None])
def test_edge_loss_agrees_with_weighted_log_loss(weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator)
    target = (torch.rand(SHAPE, generator=generator) > 0.8).float()
    valid = _mask(0)
    score = _score(edge_metrics(weight), logits, target, valid)["loss"]
    y, p = target[valid].double().numpy(), torch.sigmoid(logits[valid].double()).numpy()
    w = 1 - y.mean() if weight is None else weight
    weights = np.where(y == 1, w, 1 - w)
    mean = sklearn_metrics.log_loss(y, p, sample_weight=weights)  # divides by the weights' sum
    assert score == pytest.approx(mean * weights.mean(), abs=1e-9)


def test_probabilities_in_place_of_logits_hit_the_floor_of_the_released_meters():
    target = torch.zeros(1, 1, 10, 10)
    target.view(-1)[:3] = 1
    metric = EdgeLoss(0.95)
    metric.update(target, target, torch.ones_like(target, dtype=torch.bool))
    assert metric.compute().item() == pytest.approx(0.0425, abs=5e-5)


def test_albedo_agrees_with_scikit_learn():
    prediction, target, valid = torch.rand(4, 3, 6, 7), torch.rand(4, 3, 6, 7), _mask(0)
    scores = _score(albedo_metrics(), prediction, target, valid)
    mask = valid.expand_as(target)
    p, t = prediction[mask].double(), target[mask].double()
    assert scores["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(t, p))
    assert scores["abs_error"] == pytest.approx(sklearn_metrics.mean_absolute_error(t, p))
