from __future__ import annotations

import pytest
import torch

from reference.propagation import convolve3x3
from taskprism.distillation import SpatialAttention, create_distillation
from taskprism.errors import InputError, UnknownNameError


def test_equals_plain_loops() -> None:
    tasks, sources = ["semseg", "depth"], ["semseg", "depth", "edge"]
    module = SpatialAttention(tasks, 4, sources).double()
    features = {task: torch.randn(2, 4, 3, 5, dtype=torch.float64) for task in sources}
    refined = module(features)
    assert list(refined) == tasks
    for task in tasks:
        expected = features[task].clone()
        for source in sources:
            if source != task:
                message = module.messages[task][source]
                gate = 1 / (1 + torch.exp(-convolve3x3(features[source], message.attention.weight)))
                expected += gate * convolve3x3(features[source], message.value.weight)
        torch.testing.assert_close(refined[task], expected, rtol=1e-10, atol=1e-12)


def test_parameters_are_a_pair_of_kernels_per_ordered_pair_of_tasks() -> None:
    module = SpatialAttention(["a", "b"], 8, ["a", "b", "c"])
    assert sum(p.numel() for p in module.parameters()) == 2 * 2 * 2 * 8 * 8 * 9


def test_permuting_tasks_permutes_results() -> None:
    module = SpatialAttention(["a", "b", "c"], 4)
    turned = SpatialAttention(["c", "a", "b"], 4)
    turned.load_state_dict(module.state_dict())
    features = {task: torch.randn(1, 4, 6, 6) for task in "abc"}
    for task, refined in module(features).items():
        torch.testing.assert_close(turned(features)[task], refined)


def test_a_task_alone_keeps_its_features() -> None:
    module = SpatialAttention(["a"], 4)
    x = torch.randn(1, 4, 6, 6)
    assert torch.equal(module({"a": x})["a"], x)


def test_wrong_task_names_are_errors() -> None:
    with pytest.raises(InputError, match=r"\['b'\] are not among the sources"):
        SpatialAttention(["a", "b"], 4, ["a"])
    with pytest.raises(UnknownNameError, match="Did you mean 'spatial_attention'"):
        create_distillation("spatial_atention", ["a"], 4)
    with pytest.raises(UnknownNameError, match="option of distillation 'spatial_attention'"):
        create_distillation("spatial_attention", ["a"], 4, kernel=3)
