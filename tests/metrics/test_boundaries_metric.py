import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from reference import boundaries as reference
from taskprism.errors import InputError
from taskprism.metrics.boundaries import (
    BoundaryConvention,
    BoundaryCounts,
    BoundaryMetric,
    BoundaryScores,
    OdsF,
    evenly_spaced,
    true_boundaries,
)

FEW = BoundaryConvention(thresholds=evenly_spaced(9))


def batch(images=3):
    predictions, targets = [], []
    for number in range(images):
        window = slice(60 + 10 * number, 120 + 10 * number), slice(100, 180)
        image = reference.photograph("chelsea", *window)
        predictions.append(reference.made_prediction(image, seed=number))
        targets.append(true_boundaries(reference.made_labels(image), "seism"))
    return (
        torch.tensor(np.stack(predictions))[:, None],
        torch.tensor(np.stack(targets))[:, None].float(),
        torch.ones(images, 1, 60, 80, dtype=torch.bool),
    )


def test_metric_equals_the_sum_of_images():
    probabilities, target, valid = batch()
    metric = BoundaryMetric(FEW)
    metric.update(probabilities, target, valid)
    images = [
        BoundaryCounts.of_image(p[0].numpy(), list(t.numpy()), FEW)
        for p, t in zip(probabilities, target, strict=True)
    ]
    expected = BoundaryScores.of(sum(images, BoundaryCounts.zero(9)), FEW)
    found = metric.compute()
    assert found["odsF"].item() == expected.ods_f
    assert found["oisF"].item() == expected.ois_f >= expected.ods_f
    assert found["AP"].item() == expected.average_precision
    assert found["best_threshold"].item() == expected.best_threshold
    assert 0.2 < expected.ods_f < 1


def test_merged_metrics_equal_one_metric():
    probabilities, target, valid = batch()
    whole, first, second = OdsF(FEW), OdsF(FEW), OdsF(FEW)
    whole.update(probabilities, target, valid)
    first.update(probabilities[:2], target[:2], valid[:2])
    second.update(probabilities[2:], target[2:])
    first.merge_state(second)
    for state in ("totals", "best", "images"):
        assert getattr(first, state).dtype == torch.int64
        assert torch.equal(getattr(first, state), getattr(whole, state))
    assert first.compute() == whole.compute()


def test_states_of_processes_are_summed():
    probabilities, target, valid = batch()
    whole, other = BoundaryMetric(FEW), BoundaryMetric(FEW)
    whole.update(probabilities, target, valid)
    other.update(probabilities[1:], target[1:], valid[1:])
    states = {state.shape: state for state in (other.totals, other.best, other.images)}
    first = BoundaryMetric(
        FEW,
        distributed_available_fn=lambda: True,
        dist_sync_fn=lambda state, group=None: [state, states[state.shape]],
    )
    first.update(probabilities[:1], target[:1], valid[:1])
    assert first.compute() == whole.compute()


def test_metric_works_in_a_collection_and_resets():
    probabilities, target, valid = batch(1)
    metrics = MetricCollection({"odsF": OdsF(FEW), "all": BoundaryMetric(FEW)})
    metrics.update(probabilities, target, valid)
    found = metrics.compute()
    assert found["odsF"] == metrics["odsF"].compute()
    metrics.reset()
    assert metrics["odsF"].images == 0


def test_scores_are_nan_without_valid_pixels():
    probabilities, target, valid = batch(1)
    metric = OdsF("pascal")
    metric.update(probabilities, target, torch.zeros_like(valid))
    assert metric.compute().isnan()


def test_channels_of_the_target_are_annotators():
    probabilities, target, _ = batch(1)
    twice = BoundaryMetric(FEW)
    twice.update(probabilities, target.repeat(1, 2, 1, 1))
    once = BoundaryMetric(FEW)
    once.update(probabilities, target)
    assert torch.equal(twice.totals[:2], 2 * once.totals[:2])
    assert torch.equal(twice.totals[2:], once.totals[2:])


@pytest.mark.parametrize(
    ("probabilities", "target"),
    [((2, 1, 8, 8), (2, 8, 8)), ((2, 3, 8, 8), (2, 1, 8, 8)), ((2, 1, 8, 8), (1, 1, 8, 8))],
)
def test_wrong_shapes_are_refused(probabilities, target):
    with pytest.raises(InputError):
        OdsF(FEW).update(torch.zeros(probabilities), torch.zeros(target))
