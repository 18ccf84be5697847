"""A tiny labeled folder and recipes on it that train in a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from taskprism.recipes.files import validate
from taskprism.training import Recipe, train

HEIGHT, WIDTH = 40, 48
DATA = {
    "name": "tiny",
    "root": ".",
    "license": "made by a test",
    "image": "rgb/{name}.png",
    "input_size": [32, 32],
    "splits": {"train": "train.txt", "test": "test.txt"},
    "tasks": {
        "semseg": {"path": "semseg/{name}.png", "classes": ["dark", "light"], "ignore": [255]},
        "depth": {"path": "depth/{name}.png", "encoding": {"scale": 0.001}, "ignore": [0]},
        "edge": {"path": "edge/{name}.png", "positive": [1]},
    },
}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """YAML of 7 training and 5 test images; the image tells the labels, some labels are missing."""
    root = tmp_path_factory.mktemp("tiny")
    for folder in ("rgb", "semseg", "depth", "edge"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    names = [f"image{i:02d}" for i in range(12)]
    for number, name in enumerate(names):
        light = np.zeros((HEIGHT, WIDTH), bool)
        top, left = rng.integers(0, 20, 2)
        light[top : top + 20, left : left + 24] = True
        image = np.where(light[..., None], 200, 50) + rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
        labels = {
            "rgb": image.astype(np.uint8),
            "semseg": light.astype(np.uint8),
            "depth": np.where(light, 1000, 3000).astype(np.uint16),
            "edge": (light ^ np.roll(light, 1, axis=1)).astype(np.uint8),
        }
        if number % 4 == 1:
            del labels["edge"]
        for folder, values in labels.items():
            Image.fromarray(values).save(root / folder / f"{name}.png")
    (root / "train.txt").write_text("\n".join(names[:7]))
    (root / "test.txt").write_text("\n".join(names[7:]))
    (root / "data.yaml").write_text(yaml.safe_dump(DATA))
    return root / "data.yaml"


@pytest.fixture
def quick(monkeypatch) -> None:
    """Leave out what takes longest in a tiny run: counting operations and drawing pictures."""
    monkeypatch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)
    for module in ("run", "evaluation"):
        monkeypatch.setattr(f"taskprism.training.{module}.write_pictures", lambda *arguments: [])


@pytest.fixture
def tiny_values(tiny_data) -> dict[str, Any]:
    """Values of a recipe: 4 steps of 2 images per epoch (the last image is left out of one)."""
    return {
        "name": "tiny",
        "model": {
            "name": "multi_task",
            "backbone": "test_resnet",
            "options": {"neck_channels": 8},
        },
        "data": {"protocol": str(tiny_data), "batch_size": 2},
        "tasks": ["semseg", "depth"],
        "optimizer": {"lr": 1e-3},
        "epochs": 2,
        "evaluate_every": 1,
    }


@pytest.fixture
def tiny_recipe(tiny_values) -> Callable[..., Recipe]:
    """Makes the recipe with changed top-level values; dictionaries are merged."""

    def make(**changes: Any) -> Recipe:
        values = dict(tiny_values)
        for key, value in changes.items():
            values[key] = (
                {**values[key], **value} if isinstance(value, dict) and key in values else value
            )
        return validate(values, source="test")

    return make


@pytest.fixture(scope="session")
def _trained(tmp_path_factory) -> Path:
    """Place of the run that :func:`tiny_run` trains once and copies."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def tiny_run(tiny_recipe, quick, _trained, tmp_path) -> Path:
    """A run of ``tiny_recipe(epochs=1)`` at ``tmp_path / "run"``, which a test may damage."""
    if not _trained.is_dir():
        train(tiny_recipe(epochs=1), _trained)
    return shutil.copytree(_trained, tmp_path / "run")
