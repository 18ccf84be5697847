"""Cross-stitch and NDDR-CNN by recipe: from trained single-task runs, and from scratch."""

import json
import shutil

import pytest
import torch

import taskprism
from reference.run_files import log, weights
from taskprism.training import build_experiment, evaluate, train

pytestmark = pytest.mark.usefixtures("quick")
HEAD = {"head": "high_resolution"}


@pytest.fixture
def runs(tiny_recipe, tmp_path):
    """A trained single-task run per task."""
    found = {}
    for task in ("semseg", "depth"):
        options = {**HEAD, "neck": "none", "output_stride": 8}
        recipe = tiny_recipe(
            model={"name": "single_task", "options": options}, tasks=[task], epochs=1
        )
        found[task] = train(recipe, tmp_path / "single" / task)
    return found


@pytest.mark.parametrize("name", ["cross_stitch", "nddr_cnn"])
def test_from_trained_runs(name, runs, tiny_recipe, tmp_path):
    paths = {task: str(run) for task, run in runs.items()}
    recipe = tiny_recipe(
        model={"name": name, "options": {**HEAD, "from_single_task": paths}},
        optimizer={"name": "sgd", "lr": 1e-3, "momentum": 0.9},
    )
    started = build_experiment(recipe).model
    for task, run in runs.items():
        trained = {key.split(".", 2)[2]: value for key, value in weights(run).items()}
        head = started.heads[task].state_dict()
        assert all(torch.equal(value, trained[key]) for key, value in head.items())
    run = train(recipe, tmp_path / "run")
    losses = [entry["losses"] for entry in log(run) if entry["event"] == "train"]
    alone = {task: log(run)[0]["losses"][task] for task, run in runs.items()}
    assert all(losses[0][task] < alone[task] for task in runs), "it did not start from the runs"
    shutil.rmtree(tmp_path / "single")  # what was trained needs them no more
    scores = evaluate(run, pictures=False)
    assert set(scores) == set(taskprism.load(run).heads) == {"semseg", "depth"}


@pytest.mark.parametrize("name", ["cross_stitch", "nddr_cnn"])
def test_from_scratch(name, tiny_recipe, tmp_path):
    run = train(tiny_recipe(model={"name": name, "options": HEAD}, epochs=3), tmp_path / "run")
    losses = [entry["losses"] for entry in log(run) if entry["event"] == "train"]
    for task, first in losses[0].items():
        assert losses[-1][task] < first, task
    assert json.loads((run / "metrics.json").read_text())["model"] == name
