"""Edge loss and albedo errors against scikit-learn and a published floor."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from reference.batches import MASK_SHAPE, mask_with_empty_image, score
from taskprism.metrics import EdgeLoss, albedo_metrics, edge_metrics


@pytest.mark.parametrize("weight", [0.95, 0.8, None])
def test_edge_loss_agrees_with_weighted_log_loss(weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(MASK_SHAPE, generator=generator)
    target = (torch.rand(MASK_SHAPE, generator=generator) > 0.8).float()
    valid = mask_with_empty_image(0)
    found = score(edge_metrics(weight), logits, target, valid)["loss"]
    y, p = target[valid].double().numpy(), torch.sigmoid(logits[valid].double()).numpy()
    w = 1 - y.mean() if weight is None else weight
    weights = np.where(y == 1, w, 1 - w)
    mean = sklearn_metrics.log_loss(y, p, sample_weight=weights)  # divides by the weights' sum
    assert found == pytest.approx(mean * weights.mean(), abs=1e-9)


def test_probabilities_in_place_of_logits_hit_the_floor_of_the_released_meters():
    target = torch.zeros(1, 1, 10, 10)
    target.view(-1)[:3] = 1
    metric = EdgeLoss(0.95)
    metric.update(target, target, torch.ones_like(target, dtype=torch.bool))
    assert metric.compute().item() == pytest.approx(0.0425, abs=5e-5)


def test_albedo_agrees_with_scikit_learn():
    prediction, target, valid = (
        torch.rand(4, 3, 6, 7),
        torch.rand(4, 3, 6, 7),
        mask_with_empty_image(0),
    )
    scores = score(albedo_metrics(), prediction, target, valid)
    mask = valid.expand_as(target)
    p, t = prediction[mask].double(), target[mask].double()
    assert scores["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(t, p))
    assert scores["abs_error"] == pytest.approx(sklearn_metrics.mean_absolute_error(t, p))
