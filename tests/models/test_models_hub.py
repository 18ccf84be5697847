from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import taskprism
from taskprism.errors import CheckpointError, UnknownNameError
from taskprism.models import MultiTaskModel, create_model, hub


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    return create_model(
        "multi_task", {"semseg": 5, "depth": 1}, backbone="mobilenetv2_050", neck_channels=32
    ).eval()


def edit(folder: Path, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_a_run_loads_its_last_checkpoint_unless_the_best_is_asked_for(model, tmp_path) -> None:
    model.save_pretrained(tmp_path / "checkpoints" / "last")
    with pytest.raises(CheckpointError, match="has no checkpoint 'best'; it has last"):
        taskprism.load(tmp_path, checkpoint="best")
    model.save_pretrained(tmp_path / "checkpoints" / "best")
    assert hub.find_model_folder(tmp_path).name == "last"
    assert hub.find_model_folder(tmp_path, "best").name == "best"
    assert hub.find_model_folder(tmp_path / "checkpoints" / "best").name == "best"
    assert taskprism.load(tmp_path).config == model.config


def test_the_size_of_training_is_saved_and_old_runs_have_it_in_their_manifest(
    model, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints" / "last"
    model.save_pretrained(folder)
    assert taskprism.load(tmp_path).input_size is None
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"protocol": {"input_size": [48, 64]}}))
    assert taskprism.load(tmp_path).input_size == (48, 64)
    manifest.write_text("{")
    assert taskprism.load(tmp_path).input_size is None
    model.input_size = (96, 128)
    model.save_pretrained(folder)
    loaded = taskprism.load(tmp_path)
    assert loaded.input_size == (96, 128) and loaded.config == model.config
    model.input_size = None
    for wrong in ("96", [96], [0, 128], [96.5, 128], [2**30, 128]):
        edit(folder, input_size=wrong)
        with pytest.raises(CheckpointError, match=r"Expected \[height, width\] as input_size"):
            taskprism.load(folder)


def test_loading_downloads_no_backbone_and_keeps_the_random_state(
    model, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("taskprism.backbones.create.load_pretrained", None)
    model.save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    taskprism.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model.*checkpoints/last"):
        taskprism.load(tmp_path)
    with pytest.raises(CheckpointError, match="no folder '/nowhere/at/all'"):
        taskprism.load("/nowhere/at/all")


def test_broken_files(model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.safetensors"):
        taskprism.load(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.safetensors"):
        taskprism.load(tmp_path)
    weights.write_bytes(whole)
    edit(tmp_path, options={"neck_channels": 64})
    with pytest.raises(CheckpointError, match="does not fit"):
        taskprism.load(tmp_path)
    edit(tmp_path, tasks=None)
    with pytest.raises(CheckpointError, match="lacks the key 'tasks'"):
        taskprism.load(tmp_path)
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointError, match="not a model config"):
        taskprism.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"Cannot read .*config\.json"):
        taskprism.load(tmp_path)


def test_a_task_that_is_not_registered(model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    edit(tmp_path, tasks=[{"kind": "heat", "name": "heat", "channels": 1}])
    with pytest.raises(UnknownNameError, match="Unknown task 'heat'"):
        taskprism.load(tmp_path)
