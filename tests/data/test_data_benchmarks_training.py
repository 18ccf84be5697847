"""Benchmarks from files to scores: two steps of training, then evaluation."""

import json
import math

import pytest
import torch
from torch import Tensor
from trees_cityscapes import write_mtan, write_official
from trees_nyud import write_nyud, write_nyud13

from taskprism.analysis.baselines import fit_constants
from taskprism.data import create_protocol
from taskprism.training import evaluate, score, split_loader, train
from taskprism.training.recipe_files import validate

SMALL = {"input_size": [32, 64]}
CASES = {
    "nyud40-mat": ("nyud40", lambda root: write_nyud(root, "mat"), SMALL),
    "nyud40-npy": ("nyud40", lambda root: write_nyud(root, "npy"), SMALL),
    "nyud40-png": (
        "nyud40",
        lambda root: write_nyud(root, "png"),
        {"augmentation": "atrc", "input_size": [36, 48]},
    ),
    "nyud41-mat": ("nyud41", lambda root: write_nyud(root, "mat"), SMALL),
    "nyud13": ("nyud13", write_nyud13, {"input_size": [36, 48], "augmentation": "mtan"}),
    "cityscapes19-official": ("cityscapes19", write_official, {**SMALL, "target": "depth"}),
    "cityscapes7-official": (
        "cityscapes7",
        write_official,
        {**SMALL, "target": "disparity", "evaluation": "original"},
    ),
    "cityscapes19-mtan": ("cityscapes19", write_mtan, SMALL),
}


def recipe(name, root, options):
    return validate(
        {
            "name": "tiny",
            "model": {
                "name": "multi_task",
                "backbone": "test_resnet",
                "options": {"neck_channels": 8},
            },
            "data": {"protocol": name, "root": str(root), "options": options, "batch_size": 2},
            "epochs": 1,
        },
        source="test",
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_steps_and_an_evaluation(tmp_path, case):
    name, write, options = CASES[case]
    write(tmp_path / "data")
    run = tmp_path / "run"
    train(recipe(name, tmp_path / "data", options), run)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in log) == 2
    results = json.loads((run / "metrics.json").read_text())
    assert results["protocol"] == name
    protocol = create_protocol(name, root=tmp_path / "data", **options)
    for task in protocol.tasks:
        assert math.isfinite(results["metrics"][task.name][task.primary_metric])
    if case == "nyud40-npy":  # the command of its own gives the same
        again = evaluate(run, pictures=False)
        assert again["depth"]["rmse"] == pytest.approx(results["metrics"]["depth"]["rmse"])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data_fingerprint"] == protocol.fingerprint()
    assert manifest["licences"]["data"] == protocol.licence
    assert list((run / "pictures").glob("*.png"))


def test_scores_at_the_labels_own_size_count_their_pixels(tmp_path):
    write_nyud(tmp_path, "npy")
    options = {"root": tmp_path, "input_size": (64, 64), "tasks": ["semseg", "depth"]}
    for evaluation in ("network", "original"):
        protocol = create_protocol("nyud40", evaluation=evaluation, **options)
        sample = protocol.dataset("test", protocol.evaluation_transform())[0]
        own = (34, 44) if evaluation == "original" else (64, 64)
        assert sample["image"].shape[-2:] == (64, 64)
        assert sample["targets"]["depth"].shape[-2:] == own
        model = fit_constants(protocol.dataset("train"), protocol.tasks)
        results = score(model, split_loader(protocol, "test", model, batch_size=2))
        pixels = squared = 0.0
        for one in protocol.dataset("test", protocol.evaluation_transform()):
            depth = one["targets"]["depth"].as_subclass(Tensor)
            valid = one["valid"]["depth"].as_subclass(Tensor)
            error = model.outputs["depth"].reshape(()) - depth[valid].double()
            pixels, squared = pixels + valid.sum().item(), squared + error.square().sum().item()
        assert results["depth"]["rmse"] == pytest.approx(math.sqrt(squared / pixels), rel=1e-5)
        assert torch.isfinite(torch.tensor(results["semseg"]["miou"]))
