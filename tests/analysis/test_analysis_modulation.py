"""Task-specific activations: which are collected, differences of tasks, t-SNE."""

import sys

import numpy as np
import pytest
import torch

from taskprism.analysis.modulation import (
    Level,
    collect_activations,
    embed,
    plot_modulation,
)
from taskprism.errors import InputError, TaskprismError
from taskprism.models import create_model

TASKS = {"semseg": 3, "depth": 1}


def build(**options):
    return create_model("astmt", TASKS, backbone="se_resnet14_quarter", **options).eval()


def test_activations_are_the_factors_of_the_layers():
    model = build()
    images = [torch.rand(3, 32, 48) for _ in range(2)]
    levels = {level.place: level for level in collect_activations(model, images)}
    ratios = {task: [] for task in TASKS}
    unit = model.decoder.refine
    for task in TASKS:
        layer = unit.se[task]
        handle = layer.register_forward_hook(
            lambda module, inputs, output, task=task: ratios[task].append(
                (output.sum(dim=(2, 3)) / inputs[0].sum(dim=(2, 3)))[0]
            )
        )
        with torch.no_grad():
            for image in images:
                model(model.normalize(image[None]), [task])
        handle.remove()
        known = levels["decoder.refine.se"].activations[task]
        expected = torch.stack(ratios[task]).numpy()
        used = np.isfinite(expected)  # a channel that is 0 everywhere tells nothing
        assert known.shape == (2, 64) and used.any()
        np.testing.assert_allclose(known[used], expected[used], rtol=1e-4)
    assert next(iter(levels)).startswith("encoder.") and list(levels)[-1] == "decoder.refine.se"
    assert not any(module._forward_hooks for module in model.modules())


def test_only_task_specific_layers_are_collected():
    levels = collect_activations(build(squeeze_encoder=False), [torch.rand(3, 32, 48)])
    assert levels and all(level.place.startswith("decoder.") for level in levels)


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_model("multi_task", TASKS, backbone="test_resnet", neck_channels=8),
        lambda: build(squeeze_encoder=False, squeeze_decoder=False),
    ],
)
def test_models_without_task_layers_are_refused_with_advice(make):
    with pytest.raises(InputError, match=r"Train astmt .*taskprism train rooms/astmt"):
        collect_activations(make(), [torch.rand(3, 32, 48)])


def level(apart, spread, count=8):
    rng = np.random.default_rng(0)
    return Level(
        "layer",
        {
            task: rng.normal(index * apart, spread, (count, 5)).astype(np.float32)
            for index, task in enumerate(("a", "b", "c"))
        },
    )


def test_separation_is_the_share_of_variance_between_tasks():
    rows = level(1.0, 0.3)
    groups = np.stack(list(rows.activations.values())).astype(float)
    within = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum()
    total = ((groups - groups.mean(axis=(0, 1))) ** 2).sum()
    assert rows.separation == pytest.approx(1 - within / total)
    assert level(0.0, 1.0, 2000).separation < 0.01
    assert level(1.0, 0.0).separation == pytest.approx(1)
    assert level(0.0, 0.0).separation == 0
    assert level(1.0, 0.0).distance == pytest.approx((1 + 1 + 2) / 3)


def test_different_tasks_are_separated_by_tsne():
    points = embed(level(5.0, 0.1))
    assert {task: each.shape for task, each in points.items()} == dict.fromkeys("abc", (9, 2))
    centers = {task: each.mean(axis=0) for task, each in points.items()}
    for task, each in points.items():
        own = np.linalg.norm(each - centers[task], axis=1).max()
        others = [np.linalg.norm(centers[task] - centers[o]) for o in centers if o != task]
        assert own < min(others)
    with pytest.raises(InputError, match="at least two images"):
        embed(level(1.0, 0.1, 1))


def test_missing_scikit_learn_is_reported_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(TaskprismError, match=r"pip install 'taskprism\[analysis\]'"):
        embed(level(1.0, 0.1))


def test_the_plot_has_levels_spread_over_the_network():
    levels = [Level(f"layer{index}", level(1.0, 0.1, 4).activations) for index in range(9)]
    figure = plot_modulation(levels, 3, "title")
    titles = [axis.get_title(loc="left").split(",")[0] for axis in figure.axes]
    assert titles == ["layer0", "layer4", "layer8"]
