import math

import pytest
import torch

from taskprism.losses import LabelCounts
from taskprism.scoring.selection import Selection
from taskprism.tasks import create_task
from taskprism.training.steps import LossMeter

TASKS = [create_task("semseg", 2), create_task("depth")]


def results(miou, rmse):
    return {"semseg": {"miou": miou, "pixel_accuracy": 0.5}, "depth": {"rmse": rmse, "delta1": 0}}


def test_direction_comes_from_the_metrics():
    selection = Selection(TASKS)
    assert selection.improves(results(0.5, 1.0), epoch=1)
    assert not selection.improves(results(0.5, 1.1), epoch=2)  # larger error
    assert not selection.improves(results(0.4, 1.0), epoch=3)  # smaller overlap
    assert selection.improves(results(0.6, 1.05), epoch=4)  # mIoU gains more
    assert not selection.improves(results(0.6, 1.05), epoch=5)  # ties do not improve
    assert selection.state()["epoch"] == 4


def test_score_equals_manual_calculation():
    selection = Selection(TASKS)
    selection.improves(results(0.4, 2.0), 1)
    selection.improves(results(0.6, 1.0), 2)
    assert selection.state()["best"] == pytest.approx((0.2 / 0.5 + 1.0 / 1.5) / 2)


def test_zero_and_nan_give_finite_scores():
    selection = Selection(TASKS)
    assert selection.improves(results(0.0, 0.0), 1)
    assert selection.improves(results(0.1, 0.0), 2)
    assert not selection.improves(results(math.nan, 0.0), 3)
    fresh = Selection(TASKS)
    assert fresh.improves(results(math.nan, 1.0), 1)
    assert fresh.improves(results(0.1, 1.0), 2)


def test_restored_selection_continues_from_its_state():
    selection = Selection(TASKS)
    selection.improves(results(0.5, 1.0), 1)
    selection.improves(results(0.7, 1.0), 2)
    again = Selection(TASKS)
    again.restore(selection.state())
    assert again.state() == selection.state()
    assert not again.improves(results(0.6, 1.0), 3)


def counts(**pixels):
    labeled = frozenset(name for name, count in pixels.items() if count)
    return LabelCounts(pixels, pixels, labeled, {})


def test_meter_averages_over_labels():
    """The total over batches, the loss of a task over its labeled pixels."""
    meter = LossMeter()
    for total, a, b, pixels_of_b in [(4.0, 1.0, 3.0, 4), (2.0, 2.0, 0.0, 0), (3.0, 1.0, 6.0, 2)]:
        losses = {
            "total": torch.tensor(total),
            "final": {"a": torch.tensor(a), "b": torch.tensor(b)},
            "initial": {"b": torch.tensor(10 * b)},
        }
        meter.add(losses, counts(a=4, b=pixels_of_b))
    assert meter.total == 3.0
    assert meter.means("final") == {"a": pytest.approx(4 / 3), "b": 4.0}
    assert meter.means("initial") == {"b": 40.0}
    assert meter.per_task() == {"a": pytest.approx(4 / 3), "b": 44.0}
    again = LossMeter()
    again.restore(meter.state())
    assert again.means("final") == meter.means("final")


def test_task_without_labels_has_no_mean():
    meter = LossMeter()
    losses = {"total": torch.tensor(0.0), "final": {"a": torch.tensor(0.0)}, "initial": {}}
    meter.add(losses, counts(a=0))
    assert meter.per_task() == {}
    assert math.isnan(meter.means("final")["a"])
