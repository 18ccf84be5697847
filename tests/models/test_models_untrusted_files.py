"""Saved models that are damaged, or that come from someone you do not trust."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import taskprism
from taskprism.errors import CheckpointError, TaskprismError
from taskprism.models import create_model

TASKS = {"semseg": 5, "depth": 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = create_model("pad_net", TASKS, backbone="test_resnet", channels=8)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test can damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_options(folder: Path, **changes: Any) -> None:
    options = json.loads((folder / "config.json").read_text())["options"]
    edit(folder, options=options | changes)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        b"PK\x03\x04" + bytes(100),
    ],
)
def test_files_that_are_not_weights(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.safetensors.*damaged or not"):
        taskprism.load(folder)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_truncated_weights(folder: Path, share: float) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.safetensors.*copy it again"):
        taskprism.load(folder)


def test_a_folder_in_place_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*no such file"):
        taskprism.load(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_named(folder: Path, value: float) -> None:
    state = load_file(folder / "model.safetensors")
    name = "initial_heads.depth.predict.bias"
    state[name][0] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"damaged: {re.escape(name)} must be finite"):
        taskprism.load(folder)
    broken = {
        n: torch.full_like(x, value) if x.is_floating_point() else x for n, x in state.items()
    }
    save_file(broken, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"and \d+ more must be finite"):
        taskprism.load(folder)


@pytest.mark.parametrize("key", ["image_mean", "image_std"])
@pytest.mark.parametrize(
    "value",
    [
        [math.nan, 0.5, 0.5],
        [0.5, 0.5, math.inf],
        [0.5, 0.5],
        [0.5] * 4,
        "0.5",
        None,
        [None, 0.5, 0.5],
        [[0.5], [0.5], [0.5]],
        {},
    ],
)
def test_image_statistics(folder: Path, key: str, value: Any) -> None:
    edit(folder, **{key: value})
    with pytest.raises(CheckpointError, match=f"Expected .*numbers as {key}"):
        taskprism.load(folder)


@pytest.mark.parametrize("value", [[0.5, 0.0, 0.5], [0.5, -0.1, 0.5]])
def test_standard_deviations_are_positive(folder: Path, value: list[float]) -> None:
    edit(folder, image_std=value)
    with pytest.raises(CheckpointError, match=r"Expected .*positive numbers as image_std"):
        taskprism.load(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"pretrained": True},
        {"pretrained": "/etc/hostname"},
        {"backbone": "resnet18"},
        {"tasks": ["depth"]},
        {"auxiliary_tasks": ["depth"]},
        {"backbone_options": {"pretrained": True}},
        {"backbone_options": {"pretrained": "/etc/hostname"}},
        {"backbone_options": ["neck"]},
        {"backbone_options": "neck"},
        {"name": "multi_task"},
    ],
)
def test_options_that_would_open_other_files(folder: Path, options: dict, monkeypatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("opened another file")

    for function in ("from_hub", "from_file", "from_package"):
        monkeypatch.setattr(f"taskprism.backbones.weights.{function}", refuse)
    edit_options(folder, **options)
    with pytest.raises(TaskprismError, match=next(iter(options))):
        taskprism.load(folder)


def test_a_saved_model_reads_no_runs(tmp_path: Path) -> None:
    create_model("cross_stitch", TASKS, backbone="test_resnet").save_pretrained(tmp_path)
    edit_options(tmp_path, from_single_task={"semseg": "/etc", "depth": "/etc"})
    with pytest.raises(CheckpointError, match="cannot have the options 'from_single_task'"):
        taskprism.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 65536}, "does not fit the model"),
        ({"channels": 16}, r"has shape \(.*\), not"),
        ({"neck_channels": 60000}, "does not fit the model"),
        ({"channels": 10**9}, "channels must be an integer from 1 to 65536"),
        ({"neck_channels": 10**9}, "neck_channels must be an integer from 1 to 65536"),
        ({"channels": 0}, "channels must be an integer from 1 to 65536, got 0"),
        ({"channels": "16"}, "channels must be an integer"),
        ({"channels": None}, "channels must be an integer"),
        ({"neck": 3}, "neck"),
    ],
)
def test_networks_of_another_size_are_not_created(
    folder: Path, options: dict, message: str
) -> None:
    """The largest of these would need terabytes."""
    edit_options(folder, **options)
    start = time.monotonic()
    with pytest.raises(TaskprismError, match=message):
        taskprism.load(folder)
    assert time.monotonic() - start < 30


def test_a_larger_backbone_is_not_created(folder: Path, monkeypatch) -> None:
    edit(folder, backbone="resnet152")
    created = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda **k: created.append(1) or fork(**k))
    with pytest.raises(CheckpointError, match=r"does not fit the model.*is missing, .* more"):
        taskprism.load(folder)
    assert created == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ["channels"]}, "Expected a mapping as options"),
        ({"options": None}, "Expected a mapping as options"),
        ({"backbone": {"name": "resnet18"}}, "Expected a name as backbone"),
        ({"backbone": 3}, "Expected a name as backbone"),
        ({"backbone": "hf-hub:someone/model"}, "hf-hub"),
        ({"backbone": "local-dir:/etc"}, "local-dir"),
        ({"backbone": "/etc/passwd"}, "backbone '/etc/passwd'"),
        ({"tasks": {"depth": 1}}, "Expected a list of at most 100 tasks as tasks"),
        ({"tasks": [{"kind": "depth"}] * 10_000}, "Expected a list of at most 100 tasks"),
        ({"tasks": "depth"}, "Expected a list of at most 100 tasks"),
        ({"tasks": [3]}, "3"),
        ({"tasks": [{"kind": "depth", "name": "../depth", "channels": 1}]}, "depth"),
        ({"tasks": [{"kind": "depth", "name": "depth", "channels": 10**9}]}, "channels"),
        ({"auxiliary_tasks": None}, "Expected a list of at most 100 tasks as auxiliary_tasks"),
        ({"name": 3}, "name"),
        ({"name": ["pad_net"]}, "name"),
        ({"name": None}, "name"),
    ],
)
def test_values_of_a_config(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(TaskprismError, match=message):
        taskprism.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"options": ' * 5_000 + b"1" + b"}" * 5_000,
        b"",
        b'{"a": ' + b"9" * 10_000 + b"}",
        b" " * (2**24 + 1),
    ],
)
def test_configs_that_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        taskprism.load(folder)


def test_nested_options(folder: Path) -> None:
    nested: Any = 1
    for _ in range(400):
        nested = {"a": nested}
    edit_options(folder, distillation_options=nested)
    with pytest.raises(TaskprismError):
        taskprism.load(folder)
