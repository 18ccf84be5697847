"""Parts from outside the package: own models and backbones, saved and loaded again."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import taskprism
from taskprism.backbones import Backbone, create_backbone, register_backbone
from taskprism.distillation import Distillation
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.models import (
    MODELS,
    MultiTask,
    MultiTaskModel,
    Predictions,
    create_model,
    register_model,
)
from taskprism.registry import temporary_parts
from taskprism.tasks.depth import Depth

TASKS = {"semseg": 5, "depth": 1}


class Patches(Backbone):
    """A backbone with one map."""

    channels: tuple[int, ...]
    strides = (8,)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.channels = (width,)
        self.embed = nn.Conv2d(3, width, kernel_size=8, stride=8)

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = (-side % 8 for side in images.shape[-2:])
        return [self.embed(nn.functional.pad(images, (0, width, 0, height)))]


class Plain(nn.Module):
    """Not a Backbone, but with its two attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [4], [4]
        self.embed = nn.Conv2d(3, 4, kernel_size=4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images)


def make_patches(pretrained: bool | str = False, width: int = 6) -> Backbone:
    return Patches(width)


class Mean(MultiTaskModel):
    """One convolution for all tasks."""

    def __init__(
        self,
        tasks: Any,
        auxiliary_tasks: Any = (),
        backbone: Backbone | None = None,
        width: int = 3,
        head: Any = "auto",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        assert backbone is not None
        self.backbone = backbone
        self.heads = nn.ModuleDict(
            {task.name: nn.Conv2d(backbone.channels[0], task.channels, 1) for task in tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        finest = self.backbone(images)[0]
        size = images.shape[-2:]
        return Predictions(
            {
                task: nn.functional.interpolate(head(finest), size=size, mode="bilinear")
                for task, head in self.heads.items()
            }
        )


def assert_loads(model: MultiTaskModel, folder: Path) -> MultiTaskModel:
    model.eval().save_pretrained(folder)
    loaded = taskprism.load(folder)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        outputs, expected = loaded(images), model(images)
    for task, output in expected.items():
        assert torch.equal(outputs[task], output)
    return loaded


def test_a_model_class(tmp_path: Path) -> None:
    model = create_model(Mean, TASKS, backbone="resnet18", neck_channels=16, width=5)
    assert model.config["name"] == f"{__name__}:Mean"
    assert model.config["options"] == {"neck_channels": 16, "width": 5}
    assert_loads(model, tmp_path / "class")
    by_name = create_model(f"{__name__}:Mean", TASKS, backbone="resnet18", neck_channels=16)
    assert type(by_name) is Mean
    assert type(Mean.from_pretrained(tmp_path / "class")) is Mean


def test_own_backbones(tmp_path: Path) -> None:
    for number, (backbone, width) in enumerate(
        [(Patches, 8), (f"{__name__}:Patches", 8), (Patches(12), 12), (Patches(width=12), 12)]
    ):
        model = create_model("multi_task", TASKS, backbone=backbone)
        assert model.config["backbone"] == f"{__name__}:Patches"
        assert model.backbone.channels == (width,)
        assert_loads(model, tmp_path / str(number))


def test_options_of_own_backbones(tmp_path: Path) -> None:
    model = create_model("multi_task", TASKS, backbone=Patches, width=16)
    assert model.backbone.channels == (16,)
    assert_loads(model, tmp_path / "flat")
    both = create_model(Mean, TASKS, backbone=Patches, width=7, backbone_options={"width": 16})
    assert both.backbone.channels == (16,)
    assert_loads(both, tmp_path / "both")
    pyramid = create_model("multi_task", TASKS, backbone=Patches(4), neck="fpn", neck_channels=16)
    assert pyramid.backbone.channels == (16,)
    assert_loads(pyramid, tmp_path / "neck")
    with pytest.raises(UnknownNameError, match=r"'widht'.*'width'"):
        create_model("multi_task", TASKS, backbone=Patches, widht=16)
    with pytest.raises(UnknownNameError, match="'finest_stride'"):
        create_model("multi_task", TASKS, backbone=Patches(), finest_stride=2)
    with pytest.raises(InputError, match="has no argument 'pretrained'"):
        create_model("multi_task", TASKS, backbone=Patches, pretrained=True)
    with pytest.raises(InputError, match="set pretrained to False"):
        create_model("multi_task", TASKS, backbone=Patches(), pretrained=True)


def test_functions_that_create_backbones(tmp_path: Path) -> None:
    model = create_model("multi_task", TASKS, backbone=make_patches, width=16, pretrained="x.pth")
    assert model.backbone.channels == (16,)
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="@register_backbone"):
        taskprism.load(tmp_path)
    with temporary_parts():
        register_backbone(make_patches)
        assert_loads(model, tmp_path)
        named = create_model("multi_task", TASKS, backbone="make_patches")
        assert named.backbone.channels == (6,)
        with pytest.raises(UnknownNameError, match="Did you mean 'make_patches'"):
            create_model("multi_task", TASKS, backbone="make_patchs")


def test_modules_that_are_not_backbones(tmp_path: Path) -> None:
    for backbone in (Plain(), Plain):
        model = create_model("multi_task", TASKS, backbone=backbone)
        assert model.backbone.channels == (4,)
        assert model(torch.rand(1, 3, 32, 32))["depth"].shape == (1, 1, 32, 32)
        with pytest.raises(InputError, match="cannot be rebuilt from a checkpoint"):
            model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"ReLU has channels=None.*tuple of integers"):
        create_backbone(nn.ReLU())
    with pytest.raises(InputError, match="Expected a backbone"):
        create_backbone(3)  # type: ignore[arg-type]


class Average(Distillation):
    """Adds the mean of all features."""

    name = "average_of_a_test"

    def forward(self, features: Any, predictions: Any = None) -> dict[str, Tensor]:
        mean = torch.stack(list(features.values())).mean(dim=0)
        return {task: features[task] + mean for task in self.tasks}


@dataclasses.dataclass(frozen=True)
class Heat(Depth):
    """A task from outside the package."""

    name: str = "heat"
    kind: ClassVar[str] = "heat_of_a_test"


def test_own_distillation(tmp_path: Path) -> None:
    for number, model in enumerate(("pad_net", "mti_net", "dense_mtl")):
        backbone = {"backbone": "resnet18", "neck_channels": 16}
        built = create_model(model, TASKS, distillation=Average, **backbone)
        assert built.config["options"]["distillation"] == f"{__name__}:Average"
        assert_loads(built, tmp_path / str(number))
        create_model(model, TASKS, distillation=f"{__name__}:Average", **backbone)


def test_own_task(tmp_path: Path) -> None:
    for number, tasks in enumerate(([Heat(channels=1)], [Heat])):
        model = create_model("multi_task", tasks, backbone=Patches)
        loaded = assert_loads(model, tmp_path / str(number))
        assert loaded.tasks == (Heat(channels=1),)


def test_a_backbone_instance_keeps_its_weights() -> None:
    backbone = create_backbone("resnet18", neck="none")
    model = create_model("multi_task", TASKS, backbone=backbone)
    assert model.backbone is backbone
    assert model.config["backbone"] == "resnet18"
    assert model.config["options"] == {"neck": "none"}


def test_constructors_called_directly(tmp_path: Path) -> None:
    tasks = create_model("multi_task", TASKS, backbone=Patches).tasks
    assert_loads(Mean(tasks, (), Patches(10), width=4), tmp_path / "own")
    assert_loads(MultiTask(tasks, (), backbone=create_backbone("resnet18")), tmp_path / "builtin")
    with pytest.raises(InputError, match=r"JSON cannot hold its option head=Conv2d"):
        Mean(tasks, (), Patches(), head=nn.Conv2d(1, 1, 1)).save_pretrained(tmp_path / "not")


def test_classes_inside_functions_cannot_be_named(tmp_path: Path) -> None:
    class Inner(Mean):
        pass

    model = create_model(Inner, TASKS, backbone=Patches)
    with pytest.raises(InputError, match="defined inside a function"):
        model.save_pretrained(tmp_path)


def test_what_is_not_a_model() -> None:
    with pytest.raises(InputError, match="Expected a model"):
        create_model(Patches, TASKS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Expected a model"):
        create_model("os:system", TASKS)


PART = """
from __future__ import annotations
import pathlib
from torch import nn
from taskprism.models import MultiTask, register_model
pathlib.Path({mark!r}).write_text("imported")

class Other(MultiTask):
    name = "other_model"
"""


def test_loading_imports_only_what_is_allowed(tmp_path: Path, monkeypatch) -> None:
    mark = tmp_path / "mark"
    part = tmp_path / "parts_of_a_test.py"
    part.write_text(PART.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    model = create_model("multi_task", TASKS, backbone=Patches)
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    edit(folder, name="parts_of_a_test:Other")
    with pytest.raises(InputError, match=r"imports=\['parts_of_a_test'\]"):
        taskprism.load(folder)
    assert not mark.exists()
    try:
        loaded = taskprism.load(folder, imports=[part])
        assert loaded.name == "other_model"
        assert type(loaded).from_pretrained(folder, imports=["parts_of_a_test"])
    finally:
        sys.modules.pop("parts_of_a_test", None)
    assert mark.exists()


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "os:system"},
        {"backbone": "os:system"},
        {"options": {"distillation": "os:system"}},
        {"options": {"head": "os:system"}},
        {"options": {"distillation_options": {"distillation": "os:system"}}},
        {"options": {"backbone_options": {"neck": "os:system"}}},
        {"options": {"unheard_of": "os:system"}},
        {"tasks": [{"kind": "os:system", "name": "depth", "channels": 1}]},
        {"tasks": [{"kind": "antigravity:x", "name": "depth", "channels": 1}]},
        {"name": "antigravity:x"},
        {"backbone": "antigravity:x"},
        {"options": {"distillation": "antigravity:x"}},
        {"options": {"other": ["antigravity:x"]}},
    ],
)
def test_hostile_configs_execute_nothing(changes, tmp_path: Path, monkeypatch) -> None:
    create_model("pad_net", TASKS, backbone=Patches, channels=16).save_pretrained(tmp_path)
    options = json.loads((tmp_path / "config.json").read_text())["options"]
    if "options" in changes:
        changes = {"options": options | changes["options"]}
    edit(tmp_path, **changes)
    called = []
    monkeypatch.setattr(os, "system", lambda *args, **kwargs: called.append(args))
    with pytest.raises((InputError, UnknownNameError, CheckpointError)):
        taskprism.load(tmp_path)
    assert called == []
    assert "antigravity" not in sys.modules


def test_own_models_do_not_stay_registered() -> None:
    with temporary_parts():
        register_model(Mean)
        assert "Mean" in MODELS
    assert "Mean" not in MODELS
