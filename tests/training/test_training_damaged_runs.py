"""A damaged run folder gives an error that names the file, or is resumed with a message."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.run_files import log
from taskprism.cli import main
from taskprism.errors import CheckpointError, TaskprismError
from taskprism.training import evaluate, train
from taskprism.training.run_directory import RunDirectory, RunLog, TrainingState

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def run(tiny_run):
    return tiny_run


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def cut(file, share=0.5):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_cut_weights_are_named_and_the_best_ones_remain(tiny_recipe, run, share):
    cut(run / "checkpoints" / "last" / "model.safetensors", share)
    before = files(run)
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*--checkpoint best"):
        train(tiny_recipe(epochs=1), run, resume=True)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        evaluate(run)
    assert files(run) == before
    assert evaluate(run, checkpoint="best", pictures=False)


def test_weights_of_another_model_are_named(tiny_recipe, run):
    file = run / "checkpoints" / "last" / "model.safetensors"
    save_file({"other": torch.zeros(2)}, file)
    before = files(run)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        train(tiny_recipe(epochs=1), run, resume=True)
    assert files(run) == before


def test_weights_that_are_not_finite_are_not_resumed(tiny_recipe, run):
    file = run / "checkpoints" / "last" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if weights[name].is_floating_point())
    weights[name][...] = math.nan
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=name):
        train(tiny_recipe(epochs=1), run, resume=True)


def first_moment(state):
    return next(iter(state["optimizer"]["state"].values()))


ODD_STATES = {
    "a list": lambda state: [1, 2],
    "a tensor": lambda state: torch.zeros(3),
    "nothing": lambda state: {},
    "an unknown key": lambda state: {**state, "more": 1},
    "position": lambda state: {**state, "position": {"epoch": "one", "batch": 0, "step": 0}},
    "negative": lambda state: {**state, "position": {"epoch": -1, "batch": 0, "step": 0}},
    "log length": lambda state: {**state, "log_length": None},
    "no optimizer": lambda state: {**state, "optimizer": {}},
    "other groups": lambda state: {**state, "optimizer": {"state": {}, "param_groups": []}},
    "a shape": lambda state: [first_moment(state).update(exp_avg=torch.zeros(7)), state][1],
    "meter": lambda state: {**state, "meter": {"sums": {"total": "x"}, "counts": {}}},
    "selection": lambda state: {**state, "selection": {"epoch": 1}},
    "selection type": lambda state: {**state, "selection": None},
}


@pytest.mark.parametrize("kind", ODD_STATES)
def test_an_odd_training_state_is_named(tiny_recipe, run, kind):
    file = run / "checkpoints" / "last" / "training_state.pt"
    torch.save(ODD_STATES[kind](torch.load(file, weights_only=True)), file)
    before = files(run)
    with pytest.raises(CheckpointError, match=r"training_state\.pt cannot be read .*evaluate"):
        train(tiny_recipe(epochs=1), run, resume=True)
    assert files(run) == before


@pytest.mark.parametrize("share", [0, 0.3, 0.98])
def test_a_cut_training_state_is_named_but_does_not_hinder_scoring(tiny_recipe, run, share, capsys):
    metrics = json.loads((run / "metrics.json").read_text())
    cut(run / "checkpoints" / "last" / "training_state.pt", share)
    with pytest.raises(CheckpointError, match=r"training_state\.pt cannot be read"):
        train(tiny_recipe(epochs=1), run, resume=True)
    assert main(["evaluate", str(run), "--no-pictures"]) == 0
    assert "The epoch of the checkpoint is unknown" in capsys.readouterr().err
    assert json.loads((run / "metrics.json").read_text()) == {**metrics, "epoch": None}


@pytest.mark.parametrize("line", [b"\xff\xfe{", b'{"event": "train", ', b"[1]", b"caf\xe9"])
def test_a_damaged_line_of_the_log_does_not_stop_a_run(tiny_recipe, run, capsys, line):
    file = run / "log.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(line + b"\n" + b"".join(lines[1:]))
    with pytest.raises(CheckpointError, match=r"Line 1 of .*log\.jsonl is damaged"):
        RunLog(file).entries()
    train(tiny_recipe(epochs=1), run, resume=True)
    assert "damaged line(s) 1 are kept as text" in capsys.readouterr().err
    assert [entry["event"] for entry in log(run)] == ["damaged", "evaluate"]
    assert len(RunLog(file).entries()) == 2
    train(tiny_recipe(epochs=1), run, resume=True)
    assert "damaged line" not in capsys.readouterr().err


def test_a_log_that_is_too_short_is_noted(tiny_recipe, run, capsys):
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(lines[0])
    train(tiny_recipe(epochs=1), run, resume=True)
    assert "log.jsonl lacks 1 earlier line" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["recipe.yaml", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1, 2]", b'{"a": ', b"null"])
def test_other_damaged_files_are_named(tiny_recipe, run, name, content):
    metrics = (run / "metrics.json").read_bytes()
    (run / name).write_bytes(content)
    for start in (lambda: train(tiny_recipe(epochs=1), run, resume=True), lambda: evaluate(run)):
        with pytest.raises(TaskprismError, match=name.replace(".", r"\.")):
            start()
    assert (run / "metrics.json").read_bytes() == metrics
    assert (run / name).read_bytes() == content


def test_a_fresh_state_can_be_read(run):
    state = TrainingState.load(RunDirectory(run).checkpoint("last"))
    assert (state.position.epoch, state.log_length) == (1, 2)
