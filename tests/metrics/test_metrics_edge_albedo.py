"""Edge loss and albedo errors against scikit-learn and a published floor."""

import numpy as np
import pytest
import torch
from skimage.morphology import thin
from sklearn import metrics as sklearn_metrics

from reference.batches import MASK_SHAPE, mask_with_empty_image, score
from taskprism.metrics import EdgeLoss, albedo_metrics, edge_metrics
from taskprism.metrics.boundaries import BoundaryConvention
from taskprism.metrics.edge import annotators


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


def test_annotators_do_not_change_the_loss():
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(2, 4, 6, 7, generator=generator) > 0.8).float()
    logits = torch.randn(2, 1, 6, 7, generator=generator)
    valid = torch.ones_like(logits, dtype=torch.bool)
    assert score(edge_metrics(), logits, target, valid) == score(
        edge_metrics(), logits, target[:, :1], valid
    )


def test_ground_truth_of_boundary_scores():
    target = torch.zeros(4, 3, 6, 7)
    target[:, 0, 1:4] = 1  # three pixels wide
    target[1, 1, 0], target[1, 2, 5] = 1, 1
    target[2, 1, 0] = 1  # one annotator, and an empty map
    target[3, 1] = -1
    maps, scored = annotators(target)
    assert scored.flatten().tolist() == [True, True, True, False]
    assert maps.shape == (4, 2, 6, 7)
    line = torch.from_numpy(thin(target[0, 0].numpy() > 0)).float()
    assert torch.equal(maps[0], torch.stack([line, torch.zeros(6, 7)]))  # no annotator: the label
    assert torch.equal(maps[1:3], target[1:3, 1:])
    alone, scored = annotators(target[:, :1])
    assert torch.equal(alone, line.expand(4, 1, 6, 7))
    assert scored.all()


def test_nan_logits_score_zero():
    target = torch.zeros(1, 1, 20, 20)
    target[..., 10, 3:17] = 1
    logits = torch.full_like(target, float("nan"))
    found = score(
        edge_metrics(0.95, BoundaryConvention()), logits, target, torch.ones_like(target).bool()
    )
    assert found["odsf"] == found["oisf"] == 0


def test_probabilities_instead_of_logits_score_at_least_the_published_minimum():
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
    images = [
        sklearn_metrics.root_mean_squared_error(target[i][mask[i]], prediction[i][mask[i]])
        for i in range(4)
        if mask[i].any()
    ]
    assert scores["rmse_image_mean"] == pytest.approx(sum(images) / 3)
