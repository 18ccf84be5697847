"""Every system, by its shipped recipes: it learns, is scored, predicts, is saved and loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree

import taskprism
from models.base import BUILT_IN
from reference.run_files import log
from taskprism.models.inference import predict
from taskprism.recipes.files import list_recipes
from taskprism.training import evaluate, load_recipe, train
from taskprism.training.experiment import build_experiment

SIZE = (64, 64)
TRAINING, TEST = 8, 2
EPOCHS = 3
SYSTEMS = [name for name in BUILT_IN if name != "astmt_single_task"]
CHANGES: dict[str, Any] = {
    "data.options.input_size": SIZE,
    "data.batch_size": 4,
    "model.pretrained": False,
    "optimizer.lr": 3e-3,
    "epochs": EPOCHS,
    "evaluate_every": EPOCHS,
}


def recipe_of(name: str, folder: str) -> str:
    """A single task's network has a recipe per task of the photographs."""
    return (
        f"{folder}/single_semseg"
        if (name, folder) == ("single_task", "osd")
        else f"{folder}/{name}"
    )


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which rooms are kept, so that each is rendered once for all systems."""
    return tmp_path_factory.mktemp("rooms")


def on_rooms(rendered: Path) -> dict[str, Any]:
    options = {"train_length": TRAINING, "val_length": TEST, "test_length": TEST}
    values = {f"data.options.{key}": value for key, value in options.items()}
    return {**values, "data.root": str(rendered)}


def on_photographs(root: Path, folder: Path) -> dict[str, Any]:
    """The first of the real photographs."""
    splits = {}
    for split, count in (("train", TRAINING), ("test", TEST)):
        names = (root / f"{split}.txt").read_text().splitlines()[:count]
        splits[split] = str(folder / f"{split}.txt")
        Path(splits[split]).write_text("\n".join(names))
    return {"data.root": str(root), "data.options.splits": splits}


#: The others are trained at night; test_training_exact_updates trains one of each kind.
OFTEN = [(name, "rooms") for name in ("multi_task", "mti_net", "ctal", "dpt")]
SYSTEMS_AND_DATA = [
    pytest.param(name, folder, marks=() if (name, folder) in OFTEN else pytest.mark.nightly)
    for name in SYSTEMS
    for folder in ("rooms", "osd")
]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("name", "folder"), SYSTEMS_AND_DATA)
def test_a_short_run(
    name: str, folder: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if folder == "rooms":
        data = on_rooms(request.getfixturevalue("rendered"))
    else:
        data = on_photographs(request.getfixturevalue("real_data") / "osd_rgbd", tmp_path)
    rate = {"optimizer.lr": 1e-3} if name == "dpt" else {}  # its loss jumps at the higher rate
    recipe = load_recipe(recipe_of(name, folder), {**CHANGES, **data, **rate})
    run = train(recipe, tmp_path / "run")

    losses = [entry["losses"] for entry in log(run) if entry["event"] == "train"]
    assert len(losses) == EPOCHS
    assert set(losses[0]) == set(recipe.tasks)
    for task, first in losses[0].items():
        assert losses[-1][task] < first, (task, [each[task] for each in losses])

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["model"] == name
    assert all(math.isfinite(metrics["metrics"][t][m]) for t, m in metrics["primary"].items())
    for task, values in evaluate(run, pictures=False).items():
        assert metrics["metrics"][task] == pytest.approx(values, rel=1e-5, nan_ok=True), task

    if folder != "rooms":
        return  # the rest is the same for the same system on any data
    model = taskprism.load(run)
    answers = predict(model, torch.rand(3, 50, 70))
    assert set(answers) == set(recipe.tasks)
    assert all(answer.shape[-2:] == (50, 70) for answer in answers.values())
    model.save_pretrained(tmp_path / "saved")
    again, images = taskprism.load(tmp_path / "saved"), torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        pairs = zip(*(_pytree.tree_leaves(each(images)) for each in (model, again)), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("folder", ["rooms", "osd"])
def test_every_system_has_a_recipe(folder: str) -> None:
    names = {recipe_of(name, folder): name for name in SYSTEMS}
    assert set(names) <= set(list_recipes())
    for recipe, name in names.items():
        changes = {"data.root": "."} if folder == "osd" else {}
        assert load_recipe(recipe, changes).model.name == name


def test_a_model_of_one_size_gets_the_protocols() -> None:
    changes = {"data.options.input_size": SIZE, "model.pretrained": False}
    assert build_experiment(load_recipe("rooms/ctal", changes)).model.input_size == SIZE
    other = {**changes, "model.options.size": (32, 64)}
    assert build_experiment(load_recipe("rooms/ctal", other)).model.input_size == (32, 64)
