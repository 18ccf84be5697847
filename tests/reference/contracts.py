"""Checks that every task and every metric must pass, those of the package and yours."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from reference.batches import random_batch
from taskprism.errors import InputError
from taskprism.metrics.base import create_metric
from taskprism.tasks import Task, task_from_config

Batch = tuple[Tensor, Tensor, Tensor]
SIZES = [(7, 9), (1, 5), (3, 1), (1, 1)]


def part(batch: Batch, images: slice) -> Batch:
    """Some images of a batch."""
    output, target, valid = batch
    return output[images], target[images], valid[images]


def without_labels(batch: Batch) -> Batch:
    """The same images with every pixel ignored."""
    output, target, valid = batch
    return output, target, torch.zeros_like(valid)


def check_config(task: Task) -> None:
    """A task survives JSON, and every field is in its config."""
    config = json.loads(json.dumps(task.to_config()))
    again = task_from_config(config)
    assert again == task and type(again) is type(task) and hash(again) == hash(task)
    assert again.to_config() == task.to_config()


def check_loss(task: Task, size: tuple[int, int]) -> None:
    """A loss is a finite scalar with finite gradients, and 0 if every pixel is ignored."""
    output, target, valid = random_batch(task, size=size)
    output.requires_grad_()
    loss = task.loss(output, target, valid)
    assert loss.shape == () and loss.dtype == torch.float32
    loss.backward()
    assert loss.isfinite() and output.grad.isfinite().all()
    output.grad = None
    nothing = task.loss(*without_labels((output, target, valid)))
    nothing.backward()
    assert nothing.item() == 0 and not output.grad.any()


def check_shares(task: Task, size: tuple[int, int]) -> None:
    """The losses of parts of a batch, weighted by their counted pixels, add up to its loss."""
    output, target, valid = random_batch(task, images=3, size=size)
    counted = task.counted(target, valid)
    task = task.for_batch(task.batch_sums(target, counted).tolist())
    total = torch.zeros(())
    for images in (slice(0, 2), slice(2, 3)):
        share = counted[images].sum() / counted.sum().clamp(min=1)
        total += share * task.loss(*part((output, target, valid), images))
    torch.testing.assert_close(total, task.loss(output, target, valid))


def check_predictions(task: Task, size: tuple[int, int]) -> None:
    """Predictions, pictures, placeholders and resized outputs have the documented shapes."""
    output, target, valid = random_batch(task, size=size)
    prediction = task.decode(output)
    assert prediction.shape == (3, task.target_channels, *size)
    assert prediction.dtype == target.dtype == task.target_dtype
    picture = task.color(prediction[0], valid[0], target[0])
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8
    assert not picture[~valid[0, 0].numpy()].any()
    assert not task.color(target[0], torch.zeros_like(valid[0])).any()
    task.legend(target[0], torch.zeros_like(valid[0]))
    assert task.resize_output(output, (5, 11)).shape == (3, task.channels, 5, 11)
    logits = torch.randn(2, task.categories, *size)
    assert task.from_categories(logits).shape == (2, task.channels, *size)
    empty = task.empty_target(*size)
    assert type(empty) is task.target_type and not empty.any()
    everywhere = torch.ones(1, *size, dtype=torch.bool)
    assert task.validate_target(target[0], everywhere) is None
    assert task.validate_target(target[0], ~everywhere) is None


def check_confidence(task: Task, size: tuple[int, int]) -> None:
    """A confidence is in [0, 1], and 1 where the flipped image gives the same prediction."""
    output, _, _ = random_batch(task, size=size)
    confidence = task.confidence(output, torch.randn_like(output))
    assert confidence.shape == (3, 1, *size) and confidence.is_floating_point()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    if task.confidence_by_flip:
        flipped = task.target_type.after_horizontal_flip(output.flip(-1))
        torch.testing.assert_close(task.confidence(output, flipped), torch.ones(3, 1, *size))
        with pytest.raises(InputError, match="flipped image"):
            task.confidence(output)
    else:
        assert task.confidence(output).equal(confidence)


def check_constant(task: Task) -> None:
    """The best constant prediction comes from sums, and is finite even without a label."""
    _, target, valid = random_batch(task, images=2)
    sums = [task.target_statistics(target[i], valid[i]) for i in range(2)]
    nothing = task.target_statistics(target[0], torch.zeros_like(valid[0]))
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))
    for statistics in (sums[0] + sums[1], nothing):
        constant = task.constant_output(statistics)
        assert constant.shape == (task.channels,) and constant.isfinite().all()


def check_metric(task: Task, metric: Metric, size: tuple[int, int] = (7, 9)) -> None:
    """Halves add up to the whole, ignored images change nothing, and no label means NaN."""
    assert metric.higher_is_better in (True, False)
    batch = random_batch(task, images=6, size=size)
    halves = part(batch, slice(0, 2)), part(batch, slice(2, None))

    def scored(*batches: Batch) -> Metric:
        fresh = metric.clone()
        fresh.reset()
        for each in batches:
            task.update_metrics(fresh, *each)
        return fresh

    whole = scored(batch).compute()
    assert whole.shape == () and not whole.is_complex()
    expected = pytest.approx(whole.item(), rel=1e-9, abs=1e-9, nan_ok=True)
    assert scored(*halves).compute().item() == expected
    assert scored(halves[1], without_labels(batch), halves[0]).compute().item() == expected
    merged = scored(halves[0])
    merged.merge_state(scored(halves[1]))
    assert merged.compute().item() == expected
    restored = pickle.loads(pickle.dumps(scored(halves[0])))
    task.update_metrics(restored, *halves[1])
    assert restored.compute().item() == expected
    assert math.isnan(scored(without_labels(batch)).compute().item())
    assert all(not state.requires_grad for state in scored(batch).metric_state.values())


def check_metrics(task: Task, size: tuple[int, int]) -> None:
    """Each metric of a task alone; the collection gives the same values."""
    assert task.primary_metric in task.metrics()
    assert set(task.higher_is_better) == set(task.metrics())
    batch = random_batch(task, images=6, size=size)
    collection = task.metrics()
    for images in (slice(0, 2), slice(2, None)):
        task.update_metrics(collection, *part(batch, images))
    together = collection.compute()
    for key, metric in task.metrics().items():
        check_metric(task, metric, size)
        alone = metric.clone()
        task.update_metrics(alone, *batch)
        expected = pytest.approx(alone.compute().item(), rel=1e-9, abs=1e-9, nan_ok=True)
        assert together[key].item() == expected


def check_depth(task: Task) -> None:
    """Depth from which points follow is one number in meters, and stays when an image changes."""
    if not task.is_depth:
        return
    assert task.target_channels == 1 and task.target_dtype.is_floating_point
    meters = task.target_type(torch.rand(1, 4, 6) + 1)
    assert torch.equal(task.target_type.after_resize(meters, 2.0, 3.0), meters)
    assert torch.equal(task.target_type.after_horizontal_flip(meters), meters)


def check_diagnostics(task: Task) -> None:
    """What reports show of a task: errors are 0 for the label itself, and probabilities fit."""
    output, target, valid = random_batch(task)
    prediction = task.decode(output)
    errors = task.pixel_errors()
    assert errors and len({error.name for error in errors}) == len(errors)
    for error in errors:
        values = error.measure(prediction, target)
        assert values.shape == valid.shape and values.is_floating_point() and (values >= 0).all()
        assert error.measure(target, target).max() < 1e-3
        assert not error.is_miss or ((values == 0) | (values == 1)).all()
    calibration = task.calibration(output, target)
    if calibration is not None:
        for values in (calibration.stated, calibration.held):
            assert values.shape == valid.shape and ((values >= 0) & (values <= 1)).all()
    metrics = task.metrics()
    assert task.class_scores(metrics) is None
    task.update_metrics(metrics, output, target, valid)
    classes = task.class_scores(metrics)
    if classes is not None:
        count = len(classes.names)
        assert classes.confusion.shape[0] == count <= classes.confusion.shape[1]
        assert all(values.shape == (count,) for values in classes.values.values())


def check_task(task: Task) -> None:
    """Everything that a task guarantees."""
    check_config(task)
    check_constant(task)
    check_depth(task)
    check_diagnostics(task)
    for size in SIZES:
        check_loss(task, size)
        check_shares(task, size)
        check_predictions(task, size)
        check_confidence(task, size)
        check_metrics(task, size)


def check_registered_metric(name: str, task: Task) -> None:
    """Everything that a metric guarantees for one of its tasks."""
    for size in SIZES:
        check_metric(task, create_metric(name, task), size)
