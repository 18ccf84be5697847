"""Runs at URLs: trained, stopped, resumed elsewhere, scored, compared and loaded."""

import json

import fsspec
import pytest

import commands
import taskprism
from reference.run_files import log, weights
from taskprism.cli import main
from taskprism.errors import CheckpointError
from taskprism.recipes.files import to_yaml
from taskprism.scoring.runs import find_runs
from taskprism.stores import Lease, MirroredFolder, StorePath
from taskprism.training import train
from taskprism.training.run_lock import RunInUseError
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Continue as on another machine, whose cache is empty."""

    def use(name):
        monkeypatch.setenv("TASKPRISM_CACHE", str(tmp_path / f"cache {name}"))

    use("first")
    return use


def stop_after(monkeypatch, batches):
    done, train_batch = 0, Trainer._train_batch

    def counting(self, *arguments):
        nonlocal done
        train_batch(self, *arguments)
        done += 1
        if done == batches:
            self.stop.ask()

    monkeypatch.setattr(Trainer, "_train_batch", counting)


def test_a_run_continues_on_another_machine(tiny_recipe, tmp_path, monkeypatch, machine):
    url = f"memory://{tmp_path.name}/run"
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(
            KeyboardInterrupt, match=f"taskprism train {url}/recipe.yaml --out {url}"
        ):
            train(tiny_recipe(), url)
    machine("second")
    with pytest.raises(CheckpointError, match=f"{url} already holds a run"):
        train(tiny_recipe(), url)
    assert main(["train", url, "--out", url, "--resume"]) == 0
    copy = MirroredFolder(url).local
    whole = train(tiny_recipe(), tmp_path / "whole")
    assert log(copy) == log(whole)
    for name in ("last", "best"):
        first, second = weights(copy, name), weights(whole, name)
        assert all(first[key].equal(second[key]) for key in first)
    stored = StorePath(url)
    metrics = json.loads((stored / "metrics.json").read_bytes())
    assert metrics["metrics"] == json.loads((whole / "metrics.json").read_text())["metrics"]

    machine("third")
    model = taskprism.load(url)
    assert {task.name for task in model.tasks} == {"semseg", "depth"}
    (other,) = find_runs([f"memory://{tmp_path.name}"])
    assert other.metrics == find_runs([tmp_path / "whole"])[0].metrics
    assert main(["compare", url]) == 0
    scores = taskprism.evaluate(url, split="train", pictures=False)
    assert json.loads((stored / "metrics_train.json").read_bytes())["metrics"] == scores
    with Lease(stored).hold(), pytest.raises(RunInUseError, match="in use by process"):
        taskprism.evaluate(url, pictures=False)


def test_training_goes_on_while_the_network_is_away(tiny_recipe, tmp_path, monkeypatch, machine):
    url, calls, put = f"memory://{tmp_path.name}/run", 0, MirroredFolder._put

    def failing(self, name, key):
        nonlocal calls
        calls += name == "checkpoints/last/training_state.pt"
        if calls == 1 and name.endswith("training_state.pt"):
            raise ConnectionError("unreachable")
        put(self, name, key)

    monkeypatch.setattr(MirroredFolder, "_put", failing)
    copy = train(tiny_recipe(), url)
    machine("second")
    again = MirroredFolder(url)
    again.fetch()
    assert log(again.local) == log(copy) and len(log(copy)) > 2

    def away(self, name, key):
        raise ConnectionError("unreachable")

    monkeypatch.setattr(MirroredFolder, "_put", away)
    with pytest.raises(CheckpointError, match=r"Could not write memory://.*unreachable"):
        train(tiny_recipe(), f"memory://{tmp_path.name}/other")


def test_a_url_that_cannot_be_opened_ends_the_command_at_once(tiny_recipe, capsys, tmp_path):
    (tmp_path / "recipe.yaml").write_text("data: {protocol: rooms}")
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", "s3://bucket/run"]) == 2
    assert "pip install s3fs" in capsys.readouterr().err


KILLED = """
import os, sys
from taskprism.training import train
from taskprism.stores import MirroredFolder

put, states = MirroredFolder._put, []

def killed(self, name, key):
    put(self, name, key)
    states.extend([name] if name.endswith("training_state.pt") else [])
    if len(states) == 2:  # in the second upload of a checkpoint, before its list
        os.kill(os.getpid(), 9)

MirroredFolder._put = killed
train(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_during_an_upload_and_resumed_is_equal(tiny_recipe, tmp_path, machine):
    recipe, url = tiny_recipe(epochs=3), f"file://{tmp_path}/store/run"
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    commands.run_python(KILLED, tmp_path / "recipe.yaml", url, status=-9)
    assert (StorePath(url) / "files.json").exists()
    machine("second")
    with pytest.raises(RunInUseError, match="If no such process runs any more, try again in"):
        train(recipe, url, resume=True)
    (StorePath(url) / ".lease.json").remove()
    copy = train(recipe, url, resume=True)
    whole = train(recipe, tmp_path / "whole")
    assert log(copy) == log(whole)
    first, second = weights(copy, "last"), weights(whole, "last")
    assert all(first[key].equal(second[key]) for key in first)
    stored = fsspec.filesystem("file").find(f"{tmp_path}/store/run/checkpoints")
    assert len(stored) == len([p for p in (copy / "checkpoints").rglob("*") if p.is_file()])
