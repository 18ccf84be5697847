"""Weights of images in the loss, against a loop over images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reference.batches import random_batch
from taskprism.losses import Criterion
from taskprism.models import Predictions
from taskprism.tasks import create_task

TASKS = [
    create_task("depth"),
    create_task("semseg", 5),
    create_task("normals"),
    create_task("edge"),
    create_task("human_parts"),
]
WEIGHTS = torch.tensor([1.0, 0.25, 0.0, 0.25])


def batch(seed: int = 0):
    """Outputs, targets and masks of four images with different numbers of labels."""
    torch.manual_seed(seed)
    parts = {task.name: random_batch(task, images=4, size=(7, 9)) for task in TASKS}
    outputs = {name: part[0].requires_grad_() for name, part in parts.items()}
    targets, valid = ({name: part[i] for name, part in parts.items()} for i in (1, 2))
    valid = {name: mask.clone() for name, mask in valid.items()}
    for mask in valid.values():
        mask[1, :, :3] = False
    return outputs, targets, valid


def losses_of(criterion, outputs, targets, valid, weights):
    counts = criterion.count_labels([(targets, valid)], weights=[weights])[0]
    return criterion.breakdown(Predictions(outputs), targets, valid, counts).final


def test_a_loss_is_the_sum_of_weighted_images_over_all_labels():
    outputs, targets, valid = batch()
    found = losses_of(Criterion(TASKS), outputs, targets, valid, WEIGHTS)
    for task in TASKS:
        name, total, count = task.name, 0.0, 0
        for i in range(4):
            one = slice(i, i + 1)
            pixels = task.counted(targets[name][one], valid[name][one]).sum().item()
            loss = task.loss(outputs[name][one], targets[name][one], valid[name][one]).item()
            total, count = total + WEIGHTS[i].item() * pixels * loss, count + pixels
        assert found[name].item() == pytest.approx(total / count, rel=1e-5)
    torch.stack([*found.values()]).sum().backward()
    assert all(not output.grad[2].any() for output in outputs.values())  # weight 0
    assert all(output.grad[0].any() for output in outputs.values())


@pytest.mark.parametrize("average", ["pixels", "images"])
def test_equal_weights_scale_the_loss(average):
    outputs, targets, valid = batch()
    criterion = Criterion(TASKS, average=average)
    plain = losses_of(criterion, outputs, targets, valid, None)
    for weights in (torch.full((4,), 0.5), torch.tensor([0.5, 0.5, 0.5, 0.5 + 1e-9])):
        halved = losses_of(criterion, outputs, targets, valid, weights)
        for name in plain:
            torch.testing.assert_close(halved[name], plain[name] / 2)


def test_averaged_over_images_each_has_its_weight():
    outputs, targets, valid = batch()
    criterion = Criterion(TASKS[:2], average="images")
    kept = {task.name: outputs[task.name] for task in TASKS[:2]}
    found = losses_of(criterion, kept, targets, valid, WEIGHTS)
    for task in TASKS[:2]:
        name = task.name
        images = [
            WEIGHTS[i] * task.loss(*(part[name][i : i + 1] for part in (kept, targets, valid)))
            for i in range(4)
        ]
        torch.testing.assert_close(found[name], torch.stack(images).mean())


def test_shares_of_two_processes_are_the_loss_of_one():
    outputs, targets, valid = batch()
    criterion = Criterion(TASKS)
    whole = losses_of(criterion, outputs, targets, valid, WEIGHTS)
    total = criterion.count_labels([(targets, valid)])[0]
    shares = []
    for part in (slice(0, 1), slice(1, 4)):
        own = tuple({n: v[part] for n, v in each.items()} for each in (outputs, targets, valid))
        counts = criterion.count_labels([own[1:]], weights=[WEIGHTS[part]])[0]
        # As if two batches were accumulated, which needs no second process.
        counts = replace(counts, total=total.total, sums=total.sums, batches=2)
        shares.append(criterion.breakdown(Predictions(own[0]), *own[1:], counts).final)
    for name in whole:
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, whole[name])
