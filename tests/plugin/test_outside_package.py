"""A package outside taskprism works with every command and function, without changes to taskprism.

``shading_parts.py`` holds a task, metric, distillation, backbone, model, protocol and balancer. It
is copied into a temporary folder and used as a file (``imports``, ``--import``) and as an installed
package with an entry point.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

import commands
import taskprism
import taskprism.errors

PARTS = Path(__file__).with_name("shading_parts.py")
RECIPE = {
    "model": {"name": "pairs", "backbone": "two_strides", "options": {"distillation": "swap"}},
    "data": {"protocol": "discs", "batch_size": 2},
    "loss": {"balancing": "square_root"},
    "optimizer": {"lr": 0.01},
    "epochs": 6,
}


class Place:
    """A folder with the parts, and a way to run commands in it."""

    def __init__(self, folder: Path, installed: bool) -> None:
        self.folder = folder
        self.installed = installed
        self.site = folder / "site"
        self.site.mkdir(parents=True)
        shutil.copy(PARTS, self.site / PARTS.name)
        if installed:
            info = self.site / "shading_parts-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                "Metadata-Version: 2.1\nName: shading-parts\nVersion: 1.0\n"
            )
            (info / "entry_points.txt").write_text("[taskprism.plugins]\nshading = shading_parts\n")
        recipe = RECIPE if installed else {"imports": ["site/shading_parts.py"], **RECIPE}
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(recipe))
        self.photograph = folder / "photograph.png"
        Image.new("RGB", (40, 30), (200, 180, 160)).save(self.photograph)
        self.imports = [] if installed else ["--import", str(self.site / PARTS.name)]

    def how(self, **more: Any) -> dict[str, Any]:
        """Folder and environment of a command."""
        paths = [str(self.site)] if self.installed else []
        paths += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        environment = {"PYTHONPATH": os.pathsep.join(paths)}
        return {"folder": self.folder, "environment": environment, **more}

    def run(self, *words: str, **more: Any) -> str:
        done = commands.run(*words, **self.how(timeout=300, **more))
        return done.output + done.errors

    def run_all(self, *commands: list[str]) -> list[str]:
        """Outputs of several commands, run one after the other by one process."""
        lines = [[*command, *self.imports] for command in commands]
        printed = self.python(
            f"""
import contextlib, io, json
from taskprism.cli import main

outputs = []
for words in {lines!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main(words)
    assert status == 0, (words, status, out.getvalue())
    outputs.append(out.getvalue())
print(json.dumps(outputs))
"""
        )
        return json.loads(printed.splitlines()[-1])

    def python(self, code: str) -> str:
        paths = filter(None, [str(self.site), *sys.path])
        how = self.how(timeout=300, environment={"PYTHONPATH": os.pathsep.join(paths)})
        return commands.run_python(code, **how).output


@pytest.fixture(scope="module", params=["file", "installed"])
def place(request, tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp(request.param), request.param == "installed")


@pytest.fixture(scope="module")
def trained(place: Place) -> Path:
    """A run that was killed after its first checkpoint and resumed."""
    run = place.folder / "killed"
    with commands.start("train", place.recipe, "--out", run, **place.how()) as process:
        process.wait_until((run / "checkpoints" / "last" / "model.safetensors").is_file)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    place.run("train", str(place.recipe), "--out", str(run), "--resume", fresh=place.installed)
    return run


pytestmark = pytest.mark.slow


def test_killed_run_resumes_to_the_weights_of_an_uninterrupted_run(place, trained):
    whole = place.folder / "whole"
    place.run("train", str(place.recipe), "--out", str(whole))
    first, second = (
        load_file(run / "checkpoints" / "last" / "model.safetensors") for run in (trained, whole)
    )
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)


def test_run_records_the_modules_of_its_parts(trained):
    config = json.loads((trained / "checkpoints" / "last" / "config.json").read_text())
    text = json.dumps(config) + (trained / "recipe.yaml").read_text()
    for registered in ("shading_parts:Pairs", "shading_parts:Shading", "two_strides", "swap"):
        assert registered in text


def test_all_commands_work_on_the_run(place, trained):
    out, sheet = place.folder / "predicted", place.folder / "sheet"
    kinds = {
        "models": "pairs",
        "tasks": "shading",
        "distillations": "swap",
        "backbones": "two_strides",
        "protocols": "discs",
        "metrics": "worst_error",
        "balancers": "square_root",
    }
    place.run("evaluate", str(trained), *place.imports)
    table, _, profile, _, *lists = place.run_all(
        ["compare", str(trained)],
        ["predict", str(trained), str(place.photograph), "--out", str(out)],
        ["profile", str(trained)],
        ["analyze", "sheet", str(trained), "--out", str(sheet)],
        *(["list", kind] for kind in kinds),
    )
    metrics = json.loads((trained / "metrics.json").read_text())
    scores = metrics["metrics"] if "metrics" in metrics else metrics["tasks"]
    assert scores["shading"]["error"] < 0.35
    assert scores["depth"]["worst_error"] > 0
    assert "worst" in table or "error" in table
    assert any(out.rglob("*.png"))
    assert any(sheet.rglob("*.png"))
    assert "parameters" in profile.lower()
    for name, listed in zip(kinds.values(), lists, strict=True):
        line = next(line for line in listed.splitlines() if name in line.split())
        assert "shading_parts" in line


def test_loading_a_run_does_not_import_its_code(place, trained):
    if place.installed:
        pytest.skip("an installed plug-in is imported at the first lookup")
    message = place.run(
        "predict", str(trained), str(place.photograph), "--out", "nowhere", status=2
    )
    assert "shading_parts" in message and "--import" in message
    assert not (place.folder / "nowhere").exists()


def test_python_objects_are_trained_saved_and_loaded(place):
    place.python(
        """
import torch, taskprism, shading_parts as parts
from taskprism.training import Recipe, evaluate, train

model = taskprism.create_model(
    parts.Pairs, [parts.Shading(), "depth"], backbone=parts.TwoStrides, distillation=parts.Swap
)
model.save_pretrained("saved")
again = taskprism.load("saved")
images = torch.rand(1, 3, 32, 48)
first, second = model.eval()(images), again(images)
assert all(torch.equal(first[name], second[name]) for name in first)
assert isinstance(again.tasks[0], parts.Shading)

direct = parts.Pairs([parts.Shading()], [], parts.TwoStrides(width=4))
direct.save_pretrained("direct")
assert taskprism.load("direct").backbone.channels == (4, 4)

run = train(Recipe(epochs=1), "objects", protocol=parts.DiscsProtocol(), model=model)
print(run)
"""
    )


def test_untrusted_config_runs_no_code(tmp_path):
    model = taskprism.create_model("multi_task", ["depth"], backbone="test_resnet")
    model.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "config.json"
    config = json.loads(file.read_text())
    marker = tmp_path / "executed"
    for key, value in {
        "name": "os:system",
        "backbone": "os:system",
        "tasks": [{"kind": "os:system", "name": f"touch {marker}", "channels": 1}],
        "options": {"head": "os:system"},
    }.items():
        file.write_text(json.dumps({**config, key: value}))
        with pytest.raises(taskprism.errors.TaskprismError):
            taskprism.load(tmp_path / "saved")
    assert not marker.exists()
