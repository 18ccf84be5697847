"""Regression tasks as classes, which ATRC needs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from reference.batches import every_task
from taskprism.errors import InputError
from taskprism.tasks import create_task

SURE = 1000.0


def sure_of(index: int, count: int) -> torch.Tensor:
    """Logits (1, count, 1, 1) of one class without any doubt."""
    logits = torch.zeros(1, count, 1, 1)
    logits[0, index] = SURE
    return logits


@pytest.mark.parametrize("task", every_task(), ids=lambda task: task.kind)
def test_class_logits_become_raw_output(task) -> None:
    logits = torch.randn(2, task.categories, 4, 5, requires_grad=True)
    output = task.from_categories(logits)
    assert output.shape == (2, task.channels, 4, 5)
    output.square().sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_depths_are_spaced_by_a_constant_factor() -> None:
    task = create_task("depth", category_range=(0.7, 10.0))
    centers = [task.from_categories(sure_of(i, 40)).item() for i in range(40)]
    ratios = [far / near for near, far in pairwise(centers)]
    step = (10 / 0.7) ** (1 / 40)
    assert ratios == pytest.approx([step] * 39, rel=1e-4)
    assert centers[0] == pytest.approx(0.7 * step**0.5, rel=1e-4)
    assert centers[-1] == pytest.approx(10 / step**0.5, rel=1e-4)
    undecided = task.from_categories(torch.zeros(1, 40, 1, 1)).item()
    assert undecided == pytest.approx((0.7 * 10) ** 0.5, rel=1e-4)


def test_directions_cover_the_half_sphere_evenly() -> None:
    task = create_task("normals")
    directions = torch.cat([task.from_categories(sure_of(i, 40)) for i in range(40)])[:, :, 0, 0]
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(40))
    assert (directions[:, 2] > 0).all()
    # The mean height of a half sphere is one half, and every direction has one nearby.
    assert directions[:, 2].mean() == pytest.approx(0.5, abs=1e-3)
    anywhere = torch.nn.functional.normalize(torch.randn(2000, 3), dim=1)
    anywhere[:, 2] = anywhere[:, 2].abs()
    nearest = (anywhere @ directions.T).amax(dim=1).clamp(max=1).arccos().rad2deg()
    assert nearest.max() < 30


def test_two_classes_become_one_probability() -> None:
    logits = torch.randn(3, 2, 4, 5)
    expected = logits.softmax(dim=1)[:, 1:]
    for channels in (1, 2):
        task = create_task("saliency", channels)
        torch.testing.assert_close(task.decode(task.from_categories(logits)), expected)


def test_category_range_ascends_from_above_zero() -> None:
    for wrong in ((0.0, 10.0), (5.0, 5.0)):
        with pytest.raises(InputError, match="category_range"):
            create_task("depth", category_range=wrong)
