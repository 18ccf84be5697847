"""Segmentation scores against a plain reference, scikit-learn and numbers by hand."""

import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reference import dense_metrics
from reference.batches import MASK_SHAPE, mask_with_empty_image, score, to_numpy
from taskprism.errors import InputError
from taskprism.metrics import segmentation_metrics

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("absent", ["skip", "zero"])
def test_segmentation_agrees_with_reference_and_scikit_learn(seed, absent):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, 5, MASK_SHAPE, generator=generator)
    target = torch.randint(0, 4, MASK_SHAPE, generator=generator)
    prediction[prediction == 2] = 0
    target[target == 2] = 3  # class 2 is absent from both; class 4 from the labels only
    valid = mask_with_empty_image(seed)
    scores = score(segmentation_metrics(5, absent), prediction, target, valid)
    expected = dense_metrics.segmentation(*to_numpy(prediction, target, valid), 5, absent)
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


def test_predictions_outside_the_classes_are_wrong():
    target, valid = torch.tensor([[[[0, 1]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    for other in (255, -1):
        scores = score(segmentation_metrics(2), torch.tensor([[[[0, other]]]]), target, valid)
        assert scores == {"miou": 0.5, "pixel_accuracy": 0.5, "mean_accuracy": 0.5}


def test_labels_outside_the_classes_are_named():
    target, valid = torch.tensor([[[[0, 255]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match=r"\[255\] are outside 0\.\.1; mask"):
        segmentation_metrics(2).update(target, target, valid)
    segmentation_metrics(2).update(target, target, target != 255)


def test_absent_classes_follow_each_convention():
    target, valid = torch.tensor([[[[0, 0, 1, 1]]]]), torch.ones(1, 1, 1, 4, dtype=torch.bool)
    prediction = torch.tensor([[[[0, 0, 1, 0]]]])  # class 0: 2 / 3, class 1: 1 / 2, class 2: none
    found = {
        policy: score(segmentation_metrics(3, policy), prediction, target, valid)["miou"]
        for policy in ("skip", "zero", "nan")
    }
    assert found["skip"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["zero"] == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert found["nan"] != found["nan"]
    whole = score(segmentation_metrics(2, "nan"), prediction, target, valid)["miou"]
    assert whole == pytest.approx(found["skip"])
