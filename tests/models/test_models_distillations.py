"""Every distillation inside every assembly, on every kind of backbone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.utils import _pytree

from taskprism.backbones import Backbone, create_backbone
from taskprism.distillation import list_distillations
from taskprism.models import MTINet, MultiTaskModel, PADNet, create_model
from taskprism.scoring.resources import count_macs
from taskprism.tasks import resolve_tasks

BACKBONES: dict[str, tuple[str, int]] = {
    "hrnet": ("hrnet_w18_small", 32),  # has no neck
    "resnet_fpn": ("resnet10t", 32),
    "swin_v2": ("swinv2_tiny_window8_256", 32),
    "vit": ("test_vit", 32),
    "mobilenet": ("mobilenetv2_050", 32),
}
ASSEMBLIES: dict[str, tuple[type[MultiTaskModel], dict[str, Any]]] = {
    "single_scale": (PADNet, {"channels": 32}),
    "multi_scale": (MTINet, {}),
}
SIZE = (32, 64)
TASKS = {"semseg": 5, "depth": 1}
QUICK: dict[str, dict[str, Any]] = {"tpim": {"iterations": 2}}  # of 18, in every block


@pytest.fixture(scope="module")
def backbones() -> dict[str, Backbone]:
    """Each is created once; models get copies."""
    return {
        kind: create_backbone(name, neck_channels=width)
        for kind, (name, width) in BACKBONES.items()
    }


def build(
    kind: str, assembly: str, distillation: str, made: dict[str, Backbone], auxiliary: bool = True
) -> MultiTaskModel:
    model, options = ASSEMBLIES[assembly]
    return model(
        resolve_tasks(TASKS),
        resolve_tasks({"edge": 1} if auxiliary else {}),
        copy.deepcopy(made[kind]),
        distillation=distillation,
        distillation_options=QUICK.get(distillation),
        size=SIZE,
        **options,
    )


@pytest.mark.parametrize("distillation", list_distillations())
@pytest.mark.parametrize("assembly", ASSEMBLIES)
@pytest.mark.parametrize("kind", BACKBONES)
def test_one_step_of_training(
    kind: str, assembly: str, distillation: str, backbones: dict[str, Backbone]
) -> None:
    model = build(kind, assembly, distillation, backbones).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.randn(2, 3, *SIZE)
    outputs = model(images)
    everything = [*outputs.values(), *(x for scale in outputs.initial for x in scale.values())]
    sum(output.square().mean() for output in everything).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    optimizer.step()
    with torch.no_grad():
        after = model.eval()(images)
    assert all(torch.isfinite(output).all() for output in after.values())
    assert not torch.equal(after["depth"], outputs["depth"])
    assert model.any_input_size == (distillation != "ctal")


@pytest.mark.parametrize("distillation", list_distillations())
def test_runs_without_data(distillation: str, backbones: dict[str, Backbone]) -> None:
    assert count_macs(build("mobilenet", "single_scale", distillation, backbones), SIZE) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("distillation", list_distillations())
@pytest.mark.parametrize("assembly", ASSEMBLIES)
@pytest.mark.parametrize("kind", BACKBONES)
def test_exports(
    kind: str, assembly: str, distillation: str, backbones: dict[str, Backbone]
) -> None:
    model = build(kind, assembly, distillation, backbones, auxiliary=False).eval()
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        exported = torch.export.export(model, (images,)).module()(images)
        direct = model(images)
    for a, b in zip(_pytree.tree_leaves(exported), _pytree.tree_leaves(direct), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_any_pairing_by_name() -> None:
    model = create_model(
        "mti_net", TASKS, backbone="convnext_atto", neck_channels=32, distillation="ctal", size=SIZE
    )
    assert model.input_size == SIZE
    assert [module.size for module in model.distillations] == [(8, 16), (4, 8), (2, 4), (1, 2)]
    assert model(torch.randn(2, 3, *SIZE))["semseg"].shape == (2, 5, *SIZE)


def test_distillations_receive_the_stride_of_their_scale() -> None:
    options = {"backbone": "hrnet_w18_small", "distillation": "xtam"}
    multi = create_model("mti_net", TASKS, **options)
    single = create_model("pad_net", TASKS, channels=16, **options)
    message = [
        module.messages["depth"]["semseg"] for module in [*multi.distillations, single.distillation]
    ]
    assert [each.downscale for each in message] == [2, 1, 1, 1, 2]
