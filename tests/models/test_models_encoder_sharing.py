"""Every registered system that shares inside the encoder, and its start from single tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.base import BACKBONES, TASKS, assert_equal_outputs, small_model, small_options
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.errors import CheckpointError, InputError
from taskprism.models import MODELS, EncoderSharingModel, SingleTask, create_model
from taskprism.recipes.schema import OptimizerSettings
from taskprism.training.optimizers import parameter_groups

NAMES = [name for name in MODELS if issubclass(MODELS.find(name), EncoderSharingModel)]
EVERY = pytest.mark.parametrize("name", NAMES)


def make(name: str, **changes: Any) -> EncoderSharingModel:
    model = small_model(name, "branches", **changes)
    assert isinstance(model, EncoderSharingModel)
    return model


def train_single(name: str, folder: Path, **changes: Any) -> dict[str, str]:
    """A saved network per task, with the encoder and the head of the small model ``name``."""
    runs = {}
    options = {"neck": "none", "output_stride": 8, **small_options(name, "branches"), **changes}
    for seed, (task, channels) in enumerate(TASKS.items()):
        torch.manual_seed(seed + 7)
        network = create_model("single_task", {task: channels}, **options)
        network.save_pretrained(folder / task)
        runs[task] = str(folder / task)
    return runs


def test_models_that_share_inside_the_encoder() -> None:
    assert NAMES == ["cross_stitch", "mtan", "nddr_cnn"]
    for name in NAMES:
        model = MODELS.find(name)
        assert model.backbone_type is ResidualStages
        assert model.start_options == ("from_single_task",)
    assert set(BACKBONES[ResidualStages]) == {"branches", "pyramid"}


@EVERY
def test_output_stride_is_8_by_default(name: str) -> None:
    model = create_model(name, TASKS, backbone="resnet18", head="high_resolution")
    assert isinstance(model, EncoderSharingModel)
    encoder = next(iter(model.starting_encoders().values()))
    assert encoder.strides == (4, 8, 8, 8)


@EVERY
def test_only_networks_with_stages(name: str) -> None:
    for backbone in ("hrnet_w18_small", "mobilenetv2_050", "legacy_seresnet18"):
        with pytest.raises(InputError, match=f"'{backbone}'.*stage by stage.*'resnet18'"):
            create_model(name, TASKS, backbone=backbone)


@EVERY
def test_starts_from_single_task_networks(name: str, tmp_path: Path) -> None:
    runs = train_single(name, tmp_path)
    model = make(name, from_single_task=runs)
    assert "from_single_task" not in model.config["options"]
    assert set(model.starting_encoders()) <= set(TASKS)
    for task, path in runs.items():
        network = SingleTask.from_pretrained(path)
        pairs = [(model.heads[task], network.heads[task])]
        if task in model.starting_encoders():
            pairs.append((model.starting_encoders()[task], network.backbones[task]))
        for own, trained in pairs:
            for key, value in trained.state_dict().items():
                assert torch.equal(own.state_dict()[key], value), key
    model.save_pretrained(tmp_path / "saved")
    for folder in tmp_path.iterdir():
        if folder.name != "saved":
            (folder / "config.json").unlink()
    again = type(model).from_pretrained(tmp_path / "saved")  # does not read the runs again
    assert_equal_outputs(model, again)


@EVERY
def test_runs_that_do_not_fit(name: str, tmp_path: Path) -> None:
    runs = train_single(name, tmp_path)
    for wrong in ({"depth": runs["depth"]}, {**runs, "edge": runs["depth"]}, runs["depth"]):
        with pytest.raises(InputError, match="a run for each of semseg, depth"):
            make(name, from_single_task=wrong)
    with pytest.raises(InputError, match="predicts depth, not 'semseg'"):
        make(name, from_single_task={**runs, "semseg": runs["depth"]})
    with pytest.raises(InputError, match=r"head of the network of 'semseg'.*does not fit"):
        make(name, from_single_task=runs, tasks={"semseg": 4, "depth": 1})
    with pytest.raises(CheckpointError, match=r"no network for 'semseg'.*nowhere"):
        make(name, from_single_task={**runs, "semseg": "nowhere"})
    other = create_model("multi_task", TASKS, backbone="test_resnet")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="holds a 'multi_task'; give a trained 'single_task'"):
        make(name, from_single_task={**runs, "depth": str(tmp_path / "other")})


@EVERY
def test_another_output_stride_does_not_fit(name: str, tmp_path: Path) -> None:
    runs = train_single(name, tmp_path, output_stride=16)
    with pytest.raises(InputError, match=r"strides \(4, 8, 16, 16\), not \(4, 8, 8, 8\)"):
        make(name, from_single_task=runs)


@EVERY
def test_another_backbone_does_not_fit(name: str, tmp_path: Path) -> None:
    runs = train_single(name, tmp_path, backbone="resnet10t")
    with pytest.raises(InputError, match=r"encoder of the network of 'semseg'.*does not fit"):
        make(name, from_single_task=runs)


@EVERY
def test_every_parameter_has_one_rate(name: str) -> None:
    model = make(name)
    groups = parameter_groups(model, OptimizerSettings(), model.sgd_rate_factors())
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
