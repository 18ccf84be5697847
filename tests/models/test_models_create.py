from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import taskprism
from taskprism.backbones import create_backbone
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.models import MODELS, MultiTask, SingleTask, create_model
from taskprism.tasks import create_task

LIGHT = {"backbone": "mobilenetv2_050", "neck_channels": 32}


def test_every_model_has_its_test_file() -> None:
    here = Path(__file__).parent
    builtin = [entry.name for entry in MODELS.entries() if entry.builtin]
    missing = [name for name in builtin if not (here / f"test_models_{name}.py").is_file()]
    assert len(builtin) >= 16
    assert missing == []


def test_names_are_unique() -> None:
    names = taskprism.list_models()
    assert len(set(names)) == len(names) == len(MODELS.entries())
    assert {MODELS.find(name).name for name in names} == set(names)


def test_tasks_by_name_and_as_objects_make_the_same_model() -> None:
    by_name = create_model("multi_task", {"semseg": 5, "depth": 1}, **LIGHT)
    objects = [create_task("semseg", 5), create_task("depth")]
    assert create_model("multi_task", objects, **LIGHT).config == by_name.config


def test_two_tasks_of_one_kind_have_their_own_names() -> None:
    near, far = create_task("depth", name="near"), create_task("depth", name="far")
    outputs = create_model("multi_task", [near, far], **LIGHT).eval()(torch.randn(1, 3, 32, 32))
    assert list(outputs) == ["near", "far"]


def test_images_are_normalized_as_the_weights_expect() -> None:
    model = create_model("multi_task", ["depth"], backbone="tf_efficientnet_lite0")
    images = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(model.normalize(images), images * 2 - 1)


def test_clear_errors() -> None:
    with pytest.raises(UnknownNameError, match=r"model 'mti_nett'.*'mti_net'"):
        create_model("mti_nett", ["depth"])
    with pytest.raises(UnknownNameError, match=r"task 'dept'.*'depth'"):
        create_model("multi_task", ["dept"])
    with pytest.raises(UnknownNameError, match=r"backbone 'hrnet_w19'.*'hrnet_w18'"):
        create_model("multi_task", ["depth"], backbone="hrnet_w19")
    with pytest.raises(UnknownNameError, match=r"option of model 'multi_task' 'name'"):
        create_model("multi_task", ["depth"], name="pad_net", **LIGHT)
    with pytest.raises(UnknownNameError, match=r"backbone_options of model .*'neck_chanels'"):
        create_model("multi_task", ["depth"], backbone_options={"neck_chanels": 8})
    with pytest.raises(InputError, match="backbone_options must map names to values, got 'fpn'"):
        create_model("multi_task", ["depth"], backbone_options="fpn")
    with pytest.raises(InputError, match="decoder_channels must be an integer"):
        create_model("astmt_single_task", ["depth"], backbone="mobilenet_v2", decoder_channels="x")
    with pytest.raises(InputError, match="number of classes"):
        create_model("multi_task", ["semseg"])
    with pytest.raises(InputError, match="at least one main task"):
        create_model("multi_task", [])
    with pytest.raises(InputError, match="cannot be named"):
        create_model("multi_task", [create_task("depth", name="items")], **LIGHT)


def test_a_model_that_cannot_be_rebuilt_is_not_saved(tmp_path: Path) -> None:
    model = create_model("single_task", ["depth"], **LIGHT)
    backbone = model.backbones["depth"]
    backbone.config = None  # as of a backbone whose arguments JSON cannot hold
    bare = SingleTask(model.tasks, (), backbone)
    with pytest.raises(InputError, match="create_model"):
        bare.save_pretrained(tmp_path / "bare")
    assert not (tmp_path / "bare").exists()


def test_a_model_created_by_its_constructor_is_saved(tmp_path: Path) -> None:
    backbone = create_backbone("mobilenetv2_050", neck_channels=32)
    model = SingleTask([create_task("depth")], (), backbone, head="panoptic").eval()
    model.save_pretrained(tmp_path)
    loaded = taskprism.load(tmp_path)
    assert loaded.config == model.config
    expected = {**LIGHT, "head": "panoptic"}
    assert {"backbone": loaded.config["backbone"], **loaded.config["options"]} == expected
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images)["depth"], model(images)["depth"])


def test_a_class_loads_its_own_models(tmp_path: Path) -> None:
    create_model("multi_task", ["depth"], **LIGHT).save_pretrained(tmp_path)
    assert MultiTask.from_pretrained(tmp_path).tasks == (create_task("depth"),)
    assert "library_name: taskprism" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match=r"holds the model 'multi_task', not 'single_task'"):
        SingleTask.from_pretrained(tmp_path)


def test_a_full_disk_leaves_existing_files_unchanged(tmp_path: Path, monkeypatch) -> None:
    model = create_model("multi_task", ["depth"], **LIGHT)
    model.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(self, save_directory: Path) -> None:
        (save_directory / "model.safetensors").write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model), "_save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"No space left.*Free some space"):
        model.save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_public_interface_is_there_and_quick_to_import() -> None:
    for name in taskprism.__all__:
        assert getattr(taskprism, name)
    with pytest.raises(AttributeError, match="attribute creat_model"):
        taskprism.creat_model  # noqa: B018
    code = "import sys, taskprism; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
