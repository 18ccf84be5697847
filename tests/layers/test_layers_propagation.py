from __future__ import annotations

import pytest
import torch

from reference.propagation import excitation, propagation_mask
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import FeaturePropagation

TASKS = ["semseg", "depth", "edge", "normals", "saliency"]


def features(tasks: list[str], channels: int) -> dict[str, torch.Tensor]:
    return {task: torch.randn(2, channels, 4, 5, dtype=torch.float64) for task in tasks}


@pytest.mark.parametrize("grouping", ["channels", "tasks"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_equals_plain_loops(grouping: str, count: int) -> None:
    tasks, channels = TASKS[:count], 18  # 18 is not a multiple of 5: groups span two tasks
    module = FeaturePropagation(tasks, channels, softmax=grouping).double().eval()
    inputs = features(tasks, channels)
    stacked = torch.cat([inputs[task] for task in tasks], dim=1)
    mask = propagation_mask(module.gate(stacked), count, grouping)
    torch.testing.assert_close(module.mask(stacked), mask, rtol=1e-10, atol=1e-12)
    shared = module.reduce(stacked * mask)
    for task, refined in module(inputs).items():
        se = module.excite[task]
        squeeze = (se.fc1.weight[:, :, 0, 0], se.fc1.bias)
        expand = (se.fc2.weight[:, :, 0, 0], se.fc2.bias)
        expected = inputs[task] + excitation(shared, squeeze, expand)
        torch.testing.assert_close(refined, expected, rtol=1e-10, atol=1e-12)


def test_masks_of_the_papers_grouping_sum_to_1_over_tasks() -> None:
    module = FeaturePropagation(["a", "b", "c"], 8, softmax="tasks").eval()
    mask = module.mask(torch.randn(2, 24, 4, 4)).unflatten(1, (3, 8))
    torch.testing.assert_close(mask.sum(dim=1), torch.ones(2, 8, 4, 4))


def test_masks_of_the_codes_grouping_do_not_sum_to_1_over_tasks() -> None:
    module = FeaturePropagation(["a", "b", "c"], 8, softmax="channels").eval()
    mask = module.mask(torch.randn(2, 24, 4, 4)).unflatten(1, (3, 8))
    assert (mask.sum(dim=1) - 1).abs().max() > 0.01


def test_the_papers_grouping_does_not_depend_on_the_order_of_tasks() -> None:
    """Permuting tasks, and the weights' blocks of channels with them, permutes the results."""
    tasks, turned, width = ["a", "b", "c"], ["c", "a", "b"], 8
    module = FeaturePropagation(tasks, width, softmax="tasks").double().eval()
    other = FeaturePropagation(turned, width, softmax="tasks").double().eval()
    state = dict(module.state_dict())
    blocks = torch.cat([torch.arange(width) + tasks.index(t) * width for t in turned])
    for key, dim in (
        ("gate.0.conv1.weight", 1),
        ("gate.0.downsample.0.weight", 1),
        ("gate.2.weight", 0),
        ("gate.2.bias", 0),
        ("reduce.conv1.weight", 1),
        ("reduce.downsample.0.weight", 1),
    ):
        state[key] = state[key].index_select(dim, blocks)
    other.load_state_dict(state)
    inputs = features(tasks, width)
    for task, refined in module(inputs).items():
        torch.testing.assert_close(other(inputs)[task], refined)


def test_reduction_divides_the_inner_width() -> None:
    assert FeaturePropagation(["a", "b"], 36, reduction=4).gate[0].conv1.out_channels == 18
    assert FeaturePropagation(["a", "b"], 36, reduction=1).gate[0].conv1.out_channels == 72


def test_wrong_options_are_errors() -> None:
    with pytest.raises(InputError, match=r"fpm_reduction must be an integer from 1 to 8, got 100"):
        FeaturePropagation(["a"], 8, reduction=100)
    with pytest.raises(UnknownNameError, match="'tasks'"):
        FeaturePropagation(["a"], 8, softmax="taks")
