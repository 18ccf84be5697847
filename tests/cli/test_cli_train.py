"""The commands ``taskprism train`` and ``taskprism evaluate``."""

import json
import re
import signal
import time

import numpy as np
import pytest
import yaml
from PIL import Image

import commands
from reference.run_files import log, weights
from taskprism.cli import main
from taskprism.training import load_recipe
from taskprism.training.experiment import build_experiment


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Path of a recipe for a folder of six tiny images with depth."""
    root = tmp_path_factory.mktemp("data")
    (root / "rgb").mkdir()
    (root / "depth").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        image = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / "rgb" / f"{number}.png")
        depth = (image[..., 0].astype(np.uint16) + 1) * 10
        Image.fromarray(depth).save(root / "depth" / f"{number}.png")
    data = {
        "name": "six",
        "root": ".",
        "image": "rgb/{name}.png",
        "input_size": [32, 32],
        "splits": {"train": 0.67, "test": 0.33},
        "tasks": {"depth": {"path": "depth/{name}.png", "encoding": {"scale": 0.001}}},
    }
    (root / "six.yaml").write_text(yaml.safe_dump(data))
    recipe = {
        "model": {"backbone": "test_resnet", "options": {"neck_channels": 8}},
        "data": {"protocol": "six.yaml", "batch_size": 2},
        "epochs": 2,
    }
    (root / "small.yaml").write_text(yaml.safe_dump(recipe))
    return root / "small.yaml"


@pytest.fixture
def trained(monkeypatch):
    """Record the calls of the training function instead of training."""
    calls = []
    monkeypatch.setattr(
        "taskprism.cli.train.train_recipe", lambda *a, **k: calls.append((*a, k["resume"]))
    )
    return calls


def test_another_protocol_drops_the_options_of_the_recipe(trained, tmp_path):
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "rooms/multi_task", "--data.protocol", "nyud40", *out]) == 0
    assert trained[-1][0].data.options == {}
    words = ["--data.protocol", "nyud40", "--data.options.edge_odsf", "true", *out]
    assert main(["train", "rooms/multi_task", *words]) == 0
    assert trained[-1][0].data.options == {"edge_odsf": True}
    assert main(["train", "rooms/multi_task", "--data.protocol", "rooms", *out]) == 0
    assert trained[-1][0].data.options["train_length"] == 160


def test_every_kind_of_key_can_be_overridden(recipe, trained, tmp_path):
    words = f"""{recipe} --out {tmp_path / "run"} --epochs 3 --optimizer.lr 1e-3 --tasks depth
        --schedule.name cosine --clip-norm 2 --seed 4 --model.options.neck-channels 16
        --model.options.head=auto --data.options.input_size [64,64] --loss.weights.depth 2.5
        --data.workers 1 --optimizer.nesterov --name other --resume"""
    assert main(["train", *words.split()]) == 0
    ((made, out, resume),) = trained
    assert (out, resume) == (tmp_path / "run", True)
    assert (made.name, made.epochs, made.optimizer.lr, made.tasks) == ("other", 3, 1e-3, ["depth"])
    assert (made.schedule.name, made.clip_norm, made.seed) == ("cosine", 2.0, 4)
    assert made.model.options == {"neck_channels": 16, "head": "auto"}
    assert made.data.options == {"input_size": [64, 64]}
    assert made.loss.weights == {"depth": 2.5}
    assert (made.data.workers, made.optimizer.nesterov) == (1, True)
    untouched = load_recipe(recipe)
    assert made.model.backbone == untouched.model.backbone
    assert made.data.protocol == untouched.data.protocol


def test_without_overrides_the_recipe_is_unchanged(recipe, trained, tmp_path):
    assert main(["train", str(recipe), "--out", str(tmp_path)]) == 0
    assert trained[0][0] == load_recipe(recipe)


def test_help_shows_every_key_with_its_value_in_the_recipe(recipe, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(recipe), "--help"])
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert "--epochs INT passes over the training images (default: 2)" in text
    assert "--data.batch-size INT images per step and process (default: 2)" in text
    assert "--optimizer.lr FLOAT learning rate (default: 0.0001)" in text
    assert "--model.options.KEY VALUE (now {'neck_channels': 8})" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "key 'epochs': input should be greater than or equal to 1, got 0"),
        (["--model.options.neck", "fnp"], "Unknown neck 'fnp'. Did you mean 'fpn'"),
        (["--model.name", "mti"], "Unknown model 'mti'"),
        (["--model.backbone", "resnet1"], "resnet1"),
        (["--tasks", "semseg"], "Unknown task in protocol 'six' 'semseg'. Known: depth"),
        (["--data.protocol", "nyud"], "Unknown protocol"),
    ],
)
def test_errors_exit_with_2_and_create_nothing(recipe, tmp_path, capsys, words, message):
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unknown_option_suggests_a_similar_one(recipe, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", str(recipe), "--out", str(tmp_path), "--optimiser.lr", "1"])
    assert stop.value.code == 2
    assert "--optimizer.lr" in capsys.readouterr().err


def test_model_name_and_data_replace_a_recipe(recipe, trained, tmp_path):
    data = recipe.parent / "six.yaml"
    words = ["--data", str(data), "--model.options.neck_channels", "8", "--epochs", "3"]
    assert main(["train", "multi_task", *words, "--out", str(tmp_path / "run")]) == 0
    made = trained[0][0]
    assert (made.name, made.model.name) == ("multi_task", "multi_task")
    assert made.data.protocol == str(data) and made.data.options == {} and made.tasks == []
    assert made.model.options == {"neck_channels": 8} and made.epochs == 3
    assert main(["train", "rooms/multi_task", f"--data={data}", "--out", str(tmp_path)]) == 0
    assert trained[1][0].data.protocol == str(data) and trained[1][0].data.options == {}


def test_tasks_that_the_data_lack_are_left_out_and_named(recipe, trained, tmp_path, capsys):
    words = ["--data", str(recipe.parent / "six.yaml"), "--out", str(tmp_path / "run")]
    words += ["--loss.weights.normals", "2", "--loss.weights.depth", "3"]
    assert main(["train", "rooms/mti_net", *words]) == 0
    message = "Training on depth: six has no semseg, normals, edge, which the recipe names."
    assert message in " ".join(capsys.readouterr().err.split())
    assert trained[0][0].tasks == ["depth"] and trained[0][0].loss.weights == {"depth": 3}
    assert main(["train", "rooms/mti_net", *words, "--tasks", "edge"]) == 0
    assert trained[1][0].tasks == ["edge"]  # named by the user: an error of training


def test_an_unknown_task_names_the_tasks_that_fit(recipe):
    load = load_recipe(recipe, {"tasks": ["depth", "edge"]})
    with pytest.raises(KeyError, match="the data have depth: add --tasks depth"):
        build_experiment(load)


@pytest.mark.slow
def test_training_from_a_model_name_and_data(recipe, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--data", str(recipe.parent / "six.yaml"), "--model.backbone", "test_resnet"]
    words += ["--epochs", "1", "--data.batch-size", "2", "--out", str(run)]
    assert main(["train", "multi_task", *words]) == 0
    assert "depth rmse" in capsys.readouterr().err


def test_help_without_a_recipe_starts_with_usage_and_explains_terms(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: taskprism train RECIPE")
    text = " ".join(text.split())
    assert "A recipe is a YAML file that describes a run" in text
    assert "taskprism list recipes" in text and "rooms/multi_task" not in text


def test_missing_recipe_is_reported(capsys):
    assert main(["train", "--out", "x"]) == 2
    error = capsys.readouterr().err
    assert "Name a recipe first" in error and "taskprism list models" in error


def test_train_then_evaluate(recipe, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(recipe), "--out", str(run), "--epochs", "1"]) == 0
    messages = capsys.readouterr().err
    assert "epoch 1/1  loss" in messages
    assert "six test, epoch 1: depth rmse" in messages
    assert main(["train", str(recipe), "--out", str(run)]) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--checkpoint", "best"]) == 0
    printed = capsys.readouterr().out
    assert "small on six test, checkpoint best (epoch 1)" in " ".join(printed.split())
    assert "rmse" in printed
    assert main(["evaluate", str(run), "--split", "val"]) == 2
    assert "no split 'val'" in capsys.readouterr().err


LONG = ["--epochs", "20", "--data.workers", "1", "--evaluate-every", "20"]


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A run without interruption."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["train", str(recipe), *LONG, "--out", str(run)]) == 0
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT, signal.SIGTERM],
        [signal.SIGTERM],
        [signal.SIGUSR1, signal.SIGHUP],
        [signal.SIGKILL],
    ],
)
def test_stopped_process_resumes_to_the_same_numbers(recipe, whole, tmp_path, numbers):
    """The loader process gets the signals too, as from a terminal or a batch system."""
    run = tmp_path / "run"
    words = ["train", str(recipe), *LONG, "--out", str(run)]
    with commands.start(*words) as process:
        process.wait_until(lambda: len(log(run)) >= 3)
        for number in numbers:
            process.kill_group(number)
            time.sleep(0.01)
        status = process.wait()
        messages = process.errors
    if numbers == [signal.SIGKILL]:
        assert status == -signal.SIGKILL
    else:
        assert status == (130 if numbers[0] == signal.SIGINT else 0), messages
        assert "Stopped and saved. Resume with: taskprism train" in messages
        assert "Traceback" not in messages
    assert 3 <= len(log(run)) < 20
    assert main([*words, "--resume"]) == 0
    assert log(run) == log(whole)
    first, second = weights(run), weights(whole)
    assert all(first[key].equal(second[key]) for key in first)
    scores = [json.loads((r / "metrics.json").read_text()) for r in (run, whole)]
    assert scores[0] == scores[1]
